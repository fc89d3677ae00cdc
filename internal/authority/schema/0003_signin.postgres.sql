CREATE TABLE authority_sessions (
  hash         BYTEA    NOT NULL PRIMARY KEY,
  principal_id TEXT COLLATE "C"    NOT NULL,
  stamp        TEXT COLLATE "C"    NOT NULL,
  signed_in    BIGINT NOT NULL,
  expires      BIGINT NOT NULL
);

CREATE INDEX authority_sessions_expires ON authority_sessions (expires);

CREATE TABLE authority_attempts (
  account      BYTEA    NOT NULL,
  source       TEXT COLLATE "C"    NOT NULL,
  failures     BIGINT NOT NULL,
  locked_until BIGINT NOT NULL,
  familiar     BIGINT NOT NULL,
  expires      BIGINT NOT NULL,
  PRIMARY KEY (account, source)
);

CREATE INDEX authority_attempts_expires ON authority_attempts (expires);

CREATE TABLE authority_grants (
  id           TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
  root         TEXT COLLATE "C"    NOT NULL,
  about        TEXT COLLATE "C"    NOT NULL,
  expires      BIGINT NOT NULL
);

CREATE INDEX authority_grants_root ON authority_grants (root);
CREATE INDEX authority_grants_expires ON authority_grants (expires);

CREATE TABLE authority_generation (
  id BIGINT NOT NULL PRIMARY KEY,
  n  BIGINT NOT NULL
);

INSERT INTO authority_generation (id, n) VALUES (1, 0);

CREATE TABLE authority_refresh_tokens (
  hash         BYTEA    NOT NULL PRIMARY KEY,
  grant_id     TEXT COLLATE "C"    NOT NULL,
  parent       BYTEA    NOT NULL,
  replaced     BIGINT NOT NULL,
  created      BIGINT NOT NULL,
  expires      BIGINT NOT NULL
);

CREATE INDEX authority_refresh_tokens_grant ON authority_refresh_tokens (grant_id, created);
CREATE INDEX authority_refresh_tokens_expires ON authority_refresh_tokens (expires);

CREATE TABLE authority_codes (
  hash         BYTEA    NOT NULL PRIMARY KEY,
  grant_id     TEXT COLLATE "C"    NOT NULL,
  about        TEXT COLLATE "C"    NOT NULL,
  expires      BIGINT NOT NULL
);

CREATE INDEX authority_codes_expires ON authority_codes (expires);

CREATE TABLE authority_devices (
  hash         BYTEA    NOT NULL PRIMARY KEY,
  user_code    BYTEA    NOT NULL UNIQUE,
  source       TEXT COLLATE "C"    NOT NULL,
  about        TEXT COLLATE "C"    NOT NULL,
  state        TEXT COLLATE "C"    NOT NULL,
  signed_in    TEXT COLLATE "C"    NOT NULL,
  polled       BIGINT NOT NULL,
  expires      BIGINT NOT NULL
);

CREATE INDEX authority_devices_source ON authority_devices (source);
CREATE INDEX authority_devices_expires ON authority_devices (expires);
