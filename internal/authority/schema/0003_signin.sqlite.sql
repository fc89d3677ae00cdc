CREATE TABLE authority_sessions (
  hash         BLOB    NOT NULL PRIMARY KEY,
  principal_id TEXT    NOT NULL,
  stamp        TEXT    NOT NULL,
  signed_in    INTEGER NOT NULL,
  expires      INTEGER NOT NULL
) STRICT;

CREATE INDEX authority_sessions_expires ON authority_sessions (expires);

CREATE TABLE authority_attempts (
  account      BLOB    NOT NULL,
  source       TEXT    NOT NULL,
  failures     INTEGER NOT NULL,
  locked_until INTEGER NOT NULL,
  familiar     INTEGER NOT NULL,
  expires      INTEGER NOT NULL,
  PRIMARY KEY (account, source)
) STRICT;

CREATE INDEX authority_attempts_expires ON authority_attempts (expires);

CREATE TABLE authority_grants (
  id           TEXT    NOT NULL PRIMARY KEY,
  root         TEXT    NOT NULL,
  about        TEXT    NOT NULL,
  expires      INTEGER NOT NULL
) STRICT;

CREATE INDEX authority_grants_root ON authority_grants (root);
CREATE INDEX authority_grants_expires ON authority_grants (expires);

CREATE TABLE authority_generation (
  id INTEGER NOT NULL PRIMARY KEY,
  n  INTEGER NOT NULL
) STRICT;

INSERT INTO authority_generation (id, n) VALUES (1, 0);

CREATE TABLE authority_refresh_tokens (
  hash         BLOB    NOT NULL PRIMARY KEY,
  grant_id     TEXT    NOT NULL,
  parent       BLOB    NOT NULL,
  replaced     INTEGER NOT NULL,
  created      INTEGER NOT NULL,
  expires      INTEGER NOT NULL
) STRICT;

CREATE INDEX authority_refresh_tokens_grant ON authority_refresh_tokens (grant_id, created);
CREATE INDEX authority_refresh_tokens_expires ON authority_refresh_tokens (expires);

CREATE TABLE authority_codes (
  hash         BLOB    NOT NULL PRIMARY KEY,
  grant_id     TEXT    NOT NULL,
  about        TEXT    NOT NULL,
  expires      INTEGER NOT NULL
) STRICT;

CREATE INDEX authority_codes_expires ON authority_codes (expires);

CREATE TABLE authority_devices (
  hash         BLOB    NOT NULL PRIMARY KEY,
  user_code    BLOB    NOT NULL UNIQUE,
  source       TEXT    NOT NULL,
  about        TEXT    NOT NULL,
  state        TEXT    NOT NULL,
  signed_in    TEXT    NOT NULL,
  polled       INTEGER NOT NULL,
  expires      INTEGER NOT NULL
) STRICT;

CREATE INDEX authority_devices_source ON authority_devices (source);
CREATE INDEX authority_devices_expires ON authority_devices (expires);
