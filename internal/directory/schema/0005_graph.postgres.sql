ALTER TABLE directory_principals ADD COLUMN attributes TEXT COLLATE "C" NOT NULL DEFAULT '{}';
ALTER TABLE directory_secrets ADD COLUMN name TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE directory_secrets ADD COLUMN hint TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE directory_secrets ADD COLUMN expires BIGINT NOT NULL DEFAULT 0;

CREATE TABLE directory_applications (
  id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  app_id     TEXT COLLATE "C" NOT NULL UNIQUE,
  service_principal       BIGINT NOT NULL,
  attributes TEXT COLLATE "C" NOT NULL
);

INSERT INTO directory_applications (id, app_id, service_principal, attributes)
SELECT gen_random_uuid()::text, app_id, 1, '{}' FROM directory_principals WHERE kind = 'Application';
