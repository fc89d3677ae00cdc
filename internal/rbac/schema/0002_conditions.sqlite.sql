ALTER TABLE rbac_assignments ADD COLUMN condition TEXT NOT NULL DEFAULT '';
ALTER TABLE rbac_assignments ADD COLUMN updated_by TEXT NOT NULL DEFAULT '';
ALTER TABLE rbac_assignments ADD COLUMN updated INTEGER NOT NULL DEFAULT 0;
UPDATE rbac_assignments SET updated_by = created_by, updated = created;

CREATE TABLE rbac_deny_assignments (
  scope_key       TEXT    NOT NULL,
  id              TEXT    NOT NULL,
  scope           TEXT    NOT NULL,
  name            TEXT    NOT NULL,
  description     TEXT    NOT NULL,
  permissions     TEXT    NOT NULL,
  principals      TEXT    NOT NULL,
  excluded        TEXT    NOT NULL,
  this_scope_only INTEGER NOT NULL,
  protected       INTEGER NOT NULL,
  created_by      TEXT    NOT NULL,
  created         INTEGER NOT NULL,
  PRIMARY KEY (scope_key, id)
) STRICT;

CREATE TABLE rbac_denied_principals (
  principal_id TEXT NOT NULL,
  scope_key    TEXT NOT NULL,
  id           TEXT NOT NULL,
  PRIMARY KEY (principal_id, scope_key, id)
) STRICT;

CREATE INDEX rbac_denied_principals_scope ON rbac_denied_principals (scope_key, id);
