ALTER TABLE rbac_assignments ADD COLUMN condition TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE rbac_assignments ADD COLUMN updated_by TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE rbac_assignments ADD COLUMN updated BIGINT NOT NULL DEFAULT 0;
UPDATE rbac_assignments SET updated_by = created_by, updated = created;

CREATE TABLE rbac_deny_assignments (
  scope_key       TEXT COLLATE "C"    NOT NULL,
  id              TEXT COLLATE "C"    NOT NULL,
  scope           TEXT COLLATE "C"    NOT NULL,
  name            TEXT COLLATE "C"    NOT NULL,
  description     TEXT COLLATE "C"    NOT NULL,
  permissions     TEXT COLLATE "C"    NOT NULL,
  principals      TEXT COLLATE "C"    NOT NULL,
  excluded        TEXT COLLATE "C"    NOT NULL,
  this_scope_only BIGINT NOT NULL,
  protected       BIGINT NOT NULL,
  created_by      TEXT COLLATE "C"    NOT NULL,
  created         BIGINT NOT NULL,
  PRIMARY KEY (scope_key, id)
);

CREATE TABLE rbac_denied_principals (
  principal_id TEXT COLLATE "C" NOT NULL,
  scope_key    TEXT COLLATE "C" NOT NULL,
  id           TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (principal_id, scope_key, id)
);

CREATE INDEX rbac_denied_principals_scope ON rbac_denied_principals (scope_key, id);
