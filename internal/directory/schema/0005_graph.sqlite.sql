ALTER TABLE directory_principals ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
ALTER TABLE directory_secrets ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE directory_secrets ADD COLUMN hint TEXT NOT NULL DEFAULT '';
ALTER TABLE directory_secrets ADD COLUMN expires INTEGER NOT NULL DEFAULT 0;

CREATE TABLE directory_applications (
  id         TEXT    NOT NULL PRIMARY KEY,
  app_id     TEXT    NOT NULL UNIQUE,
  service_principal       INTEGER NOT NULL,
  attributes TEXT    NOT NULL
) STRICT;

INSERT INTO directory_applications (id, app_id, service_principal, attributes)
SELECT lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
  app_id, 1, '{}' FROM directory_principals WHERE kind = 'Application';
