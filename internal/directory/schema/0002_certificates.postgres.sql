CREATE TABLE directory_certificates (
  id           TEXT COLLATE "C"    NOT NULL PRIMARY KEY,
  principal_id TEXT COLLATE "C"    NOT NULL,
  der          BYTEA    NOT NULL,
  created      BIGINT NOT NULL
);

CREATE INDEX directory_certificates_principal ON directory_certificates (principal_id);
