-- An application stands on its own now: it has its name and its credentials apart from its service principal.
ALTER TABLE directory_applications ADD COLUMN name TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE directory_applications ADD COLUMN created BIGINT NOT NULL DEFAULT 0;

UPDATE directory_applications SET
  name = (SELECT p.name FROM directory_principals p WHERE p.app_id = directory_applications.app_id),
  created = (SELECT p.created FROM directory_principals p WHERE p.app_id = directory_applications.app_id);
UPDATE directory_secrets SET principal_id = (SELECT a.id FROM directory_applications a JOIN directory_principals p ON p.app_id = a.app_id WHERE p.id = directory_secrets.principal_id)
WHERE principal_id IN (SELECT p.id FROM directory_applications a JOIN directory_principals p ON p.app_id = a.app_id);
UPDATE directory_certificates SET principal_id = (SELECT a.id FROM directory_applications a JOIN directory_principals p ON p.app_id = a.app_id WHERE p.id = directory_certificates.principal_id)
WHERE principal_id IN (SELECT p.id FROM directory_applications a JOIN directory_principals p ON p.app_id = a.app_id);
DELETE FROM directory_principals WHERE app_id IN (SELECT app_id FROM directory_applications WHERE service_principal = 0);
ALTER TABLE directory_applications DROP COLUMN service_principal;

ALTER TABLE directory_secrets ADD COLUMN starts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE directory_certificates ADD COLUMN name TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE directory_certificates ADD COLUMN starts BIGINT NOT NULL DEFAULT 0; -- 0: when the certificate does
ALTER TABLE directory_certificates ADD COLUMN ends BIGINT NOT NULL DEFAULT 0; -- 0: when the certificate does
ALTER TABLE directory_passwords ADD COLUMN must_change BIGINT NOT NULL DEFAULT 0;
ALTER TABLE directory_federated_credentials ADD COLUMN id TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE directory_federated_credentials ADD COLUMN description TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE directory_federated_credentials SET id = gen_random_uuid()::text;

-- What was deleted and can be restored. It is in no other table, so nothing can act as it.
CREATE TABLE directory_deleted (
  id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  kind    TEXT COLLATE "C" NOT NULL, -- Application, ServicePrincipal, User, Group
  app_id  TEXT COLLATE "C" NOT NULL,
  deleted BIGINT NOT NULL,
  content TEXT COLLATE "C" NOT NULL
);

CREATE INDEX directory_deleted_app_id ON directory_deleted (app_id);
CREATE INDEX directory_deleted_deleted ON directory_deleted (deleted);

CREATE TABLE directory_identifier_uris (
  uri_key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  app_id  TEXT COLLATE "C" NOT NULL
);

CREATE INDEX directory_identifier_uris_application ON directory_identifier_uris (app_id);

INSERT INTO directory_identifier_uris (uri_key, app_id)
SELECT lower(uri), a.app_id FROM directory_applications a, jsonb_array_elements_text(
  CASE WHEN jsonb_typeof(a.attributes::jsonb -> 'identifierUris') = 'array' THEN a.attributes::jsonb -> 'identifierUris' ELSE '[]'::jsonb END) AS uri
ON CONFLICT DO NOTHING;

CREATE TABLE directory_owners (
  object_id TEXT COLLATE "C" NOT NULL,
  owner_id  TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (object_id, owner_id)
);

CREATE INDEX directory_owners_owner ON directory_owners (owner_id);

CREATE TABLE directory_app_role_assignments (
  id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  principal_id TEXT COLLATE "C" NOT NULL,
  resource_id  TEXT COLLATE "C" NOT NULL,
  app_role_id  TEXT COLLATE "C" NOT NULL,
  created      BIGINT NOT NULL,
  UNIQUE (principal_id, resource_id, app_role_id)
);

CREATE INDEX directory_app_role_assignments_resource ON directory_app_role_assignments (resource_id);

CREATE TABLE directory_permission_grants (
  id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  client_id    TEXT COLLATE "C" NOT NULL,
  resource_id  TEXT COLLATE "C" NOT NULL,
  principal_id TEXT COLLATE "C" NOT NULL, -- '' for everyone
  scope        TEXT COLLATE "C" NOT NULL,
  UNIQUE (client_id, resource_id, principal_id)
);

CREATE INDEX directory_permission_grants_resource ON directory_permission_grants (resource_id);

-- Microsoft's own applications have service principals in every tenant.
INSERT INTO directory_principals (id, app_id, kind, name, identity_id, enabled, created)
SELECT gen_random_uuid()::text, app_id, 'FirstParty', name, '', 1, 0 FROM (
  SELECT '00000002-0000-0000-c000-000000000000' AS app_id, 'Windows Azure Active Directory' AS name
  UNION ALL SELECT '00000003-0000-0000-c000-000000000000', 'Microsoft Graph'
  UNION ALL SELECT '797f4846-ba00-4fd7-ba43-dac1f8f63013', 'Windows Azure Service Management API'
  UNION ALL SELECT 'cfa8b339-82a2-471a-a3c9-0fc0be7a4093', 'Azure Key Vault'
  UNION ALL SELECT 'e406a681-f3d4-42a8-90b6-c2b029497af1', 'Azure Storage'
  UNION ALL SELECT '374b2a64-3b6b-436b-934c-b820eacca870', 'Azure Media Services'
  UNION ALL SELECT '04b07795-8ddb-461a-bbee-02f9e1bf7b46', 'Microsoft Azure CLI'
  UNION ALL SELECT '1950a258-227b-4e31-a9cf-717495945fc2', 'Microsoft Azure PowerShell'
) AS first_party;
