CREATE TABLE directory_principals (
  id           TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
  app_id       TEXT COLLATE "C"    UNIQUE,
  kind         TEXT COLLATE "C"    NOT NULL,
  name         TEXT COLLATE "C"    NOT NULL,
  identity_id  TEXT COLLATE "C"    NOT NULL,
  identity_key TEXT COLLATE "C"    UNIQUE,
  enabled      BIGINT NOT NULL,
  created      BIGINT NOT NULL
);

CREATE TABLE directory_secrets (
  id           TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
  principal_id TEXT COLLATE "C"    NOT NULL,
  hash         BYTEA    NOT NULL,
  created      BIGINT NOT NULL
);

CREATE INDEX directory_secrets_principal ON directory_secrets (principal_id);

CREATE TABLE directory_passwords (
  user_key     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  principal_id TEXT COLLATE "C" NOT NULL UNIQUE,
  hash         TEXT COLLATE "C" NOT NULL
);

CREATE TABLE directory_workloads (
  id          TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
  name        TEXT COLLATE "C"    NOT NULL,
  resource_id TEXT COLLATE "C"    NOT NULL,
  secret_hash BYTEA    NOT NULL UNIQUE,
  created     BIGINT NOT NULL,
  expires     BIGINT NOT NULL
);

CREATE TABLE directory_workload_identities (
  workload_id  TEXT COLLATE "C"    NOT NULL,
  position     BIGINT NOT NULL,
  principal_id TEXT COLLATE "C"    NOT NULL,
  PRIMARY KEY (workload_id, position)
);

CREATE INDEX directory_workload_identities_principal ON directory_workload_identities (principal_id);

CREATE TABLE directory_generation (
  id BIGINT NOT NULL PRIMARY KEY,
  n  BIGINT NOT NULL
);

INSERT INTO directory_generation (id, n) VALUES (1, 0);
