CREATE TABLE directory_principals (
  id           TEXT    NOT NULL PRIMARY KEY,
  app_id       TEXT    UNIQUE,
  kind         TEXT    NOT NULL,
  name         TEXT    NOT NULL,
  identity_id  TEXT    NOT NULL,
  identity_key TEXT    UNIQUE,
  enabled      INTEGER NOT NULL,
  created      INTEGER NOT NULL
) STRICT;

CREATE TABLE directory_secrets (
  id           TEXT    NOT NULL PRIMARY KEY,
  principal_id TEXT    NOT NULL,
  hash         BLOB    NOT NULL,
  created      INTEGER NOT NULL
) STRICT;

CREATE INDEX directory_secrets_principal ON directory_secrets (principal_id);

CREATE TABLE directory_passwords (
  user_key     TEXT NOT NULL PRIMARY KEY,
  principal_id TEXT NOT NULL UNIQUE,
  hash         TEXT NOT NULL
) STRICT;

CREATE TABLE directory_workloads (
  id          TEXT    NOT NULL PRIMARY KEY,
  name        TEXT    NOT NULL,
  resource_id TEXT    NOT NULL,
  secret_hash BLOB    NOT NULL UNIQUE,
  created     INTEGER NOT NULL,
  expires     INTEGER NOT NULL
) STRICT;

CREATE TABLE directory_workload_identities (
  workload_id  TEXT    NOT NULL,
  position     INTEGER NOT NULL,
  principal_id TEXT    NOT NULL,
  PRIMARY KEY (workload_id, position)
) STRICT;

CREATE INDEX directory_workload_identities_principal ON directory_workload_identities (principal_id);

CREATE TABLE directory_generation (
  id INTEGER NOT NULL PRIMARY KEY,
  n  INTEGER NOT NULL
) STRICT;

INSERT INTO directory_generation (id, n) VALUES (1, 0);
