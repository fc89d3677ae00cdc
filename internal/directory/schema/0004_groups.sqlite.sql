CREATE TABLE directory_members (
  group_id  TEXT NOT NULL,
  member_id TEXT NOT NULL,
  PRIMARY KEY (group_id, member_id)
) STRICT;

CREATE INDEX directory_members_member ON directory_members (member_id);

CREATE TABLE directory_members_generation (
  id INTEGER NOT NULL PRIMARY KEY,
  n  INTEGER NOT NULL
) STRICT;

INSERT INTO directory_members_generation (id, n) VALUES (1, 0);
