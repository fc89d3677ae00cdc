CREATE TABLE authority_keys (
  seq         INTEGER NOT NULL PRIMARY KEY,
  id          TEXT    NOT NULL UNIQUE,
  certificate BLOB    NOT NULL,
  private     BLOB,
  signs_from  INTEGER NOT NULL,
  created     INTEGER NOT NULL
) STRICT;
