CREATE TABLE authority_assertions (
  hash    BLOB    NOT NULL PRIMARY KEY,
  source  TEXT    NOT NULL,
  expires INTEGER NOT NULL
) STRICT;

CREATE INDEX authority_assertions_expires ON authority_assertions (expires);
