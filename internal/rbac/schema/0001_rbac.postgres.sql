CREATE TABLE rbac_definitions (
  id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  name        TEXT COLLATE "C" NOT NULL,
  name_key    TEXT COLLATE "C" NOT NULL UNIQUE,
  description TEXT COLLATE "C" NOT NULL,
  permissions TEXT COLLATE "C" NOT NULL,
  scopes      TEXT COLLATE "C" NOT NULL
);

CREATE TABLE rbac_assignments (
  scope_key      TEXT COLLATE "C"    NOT NULL,
  id             TEXT COLLATE "C"    NOT NULL,
  scope          TEXT COLLATE "C"    NOT NULL,
  role_id        TEXT COLLATE "C"    NOT NULL,
  principal_id   TEXT COLLATE "C"    NOT NULL,
  principal_type TEXT COLLATE "C"    NOT NULL,
  description    TEXT COLLATE "C"    NOT NULL,
  created_by     TEXT COLLATE "C"    NOT NULL,
  created        BIGINT NOT NULL,
  PRIMARY KEY (scope_key, id),
  UNIQUE (principal_id, scope_key, role_id)
);

CREATE TABLE rbac_generation (
  id BIGINT NOT NULL PRIMARY KEY,
  n  BIGINT NOT NULL
);

INSERT INTO rbac_generation (id, n) VALUES (1, 0);
