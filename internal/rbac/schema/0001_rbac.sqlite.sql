CREATE TABLE rbac_definitions (
  id          TEXT NOT NULL PRIMARY KEY,
  name        TEXT NOT NULL,
  name_key    TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  permissions TEXT NOT NULL,
  scopes      TEXT NOT NULL
) STRICT;

CREATE TABLE rbac_assignments (
  scope_key      TEXT    NOT NULL,
  id             TEXT    NOT NULL,
  scope          TEXT    NOT NULL,
  role_id        TEXT    NOT NULL,
  principal_id   TEXT    NOT NULL,
  principal_type TEXT    NOT NULL,
  description    TEXT    NOT NULL,
  created_by     TEXT    NOT NULL,
  created        INTEGER NOT NULL,
  PRIMARY KEY (scope_key, id),
  UNIQUE (principal_id, scope_key, role_id)
) STRICT;

CREATE TABLE rbac_generation (
  id INTEGER NOT NULL PRIMARY KEY,
  n  INTEGER NOT NULL
) STRICT;

INSERT INTO rbac_generation (id, n) VALUES (1, 0);
