CREATE TABLE authority_assertions (
  hash    BYTEA    NOT NULL PRIMARY KEY,
  source  TEXT COLLATE "C"    NOT NULL,
  expires BIGINT NOT NULL
);

CREATE INDEX authority_assertions_expires ON authority_assertions (expires);
