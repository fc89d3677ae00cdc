ALTER TABLE directory_passwords ADD COLUMN signed_out BIGINT NOT NULL DEFAULT 0; -- sign-ins from before are over

CREATE TABLE directory_delegations_generation (
  id BIGINT NOT NULL PRIMARY KEY,
  n  BIGINT NOT NULL
);

INSERT INTO directory_delegations_generation (id, n) VALUES (1, 0);
