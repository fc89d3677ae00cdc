CREATE TABLE directory_members (
  group_id  TEXT COLLATE "C" NOT NULL,
  member_id TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (group_id, member_id)
);

CREATE INDEX directory_members_member ON directory_members (member_id);

CREATE TABLE directory_members_generation (
  id BIGINT NOT NULL PRIMARY KEY,
  n  BIGINT NOT NULL
);

INSERT INTO directory_members_generation (id, n) VALUES (1, 0);
