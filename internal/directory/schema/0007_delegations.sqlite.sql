ALTER TABLE directory_passwords ADD COLUMN signed_out INTEGER NOT NULL DEFAULT 0; -- sign-ins from before are over

CREATE TABLE directory_delegations_generation (
  id INTEGER NOT NULL PRIMARY KEY,
  n  INTEGER NOT NULL
) STRICT;

INSERT INTO directory_delegations_generation (id, n) VALUES (1, 0);
