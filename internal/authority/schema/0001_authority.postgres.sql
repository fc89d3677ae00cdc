CREATE TABLE authority_keys (
  seq         BIGINT NOT NULL PRIMARY KEY,
  id          TEXT COLLATE "C"    NOT NULL UNIQUE,
  certificate BYTEA    NOT NULL,
  private     BYTEA,
  signs_from  BIGINT NOT NULL,
  created     BIGINT NOT NULL
);
