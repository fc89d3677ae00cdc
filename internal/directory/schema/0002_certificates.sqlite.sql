CREATE TABLE directory_certificates (
  id           TEXT    NOT NULL PRIMARY KEY,
  principal_id TEXT    NOT NULL,
  der          BLOB    NOT NULL,
  created      INTEGER NOT NULL
) STRICT;

CREATE INDEX directory_certificates_principal ON directory_certificates (principal_id);
