ALTER TABLE authority_grants ADD COLUMN user_id TEXT NOT NULL DEFAULT '';
UPDATE authority_grants SET user_id = coalesce(json_extract(about, '$.signIn.user'), '');

CREATE INDEX authority_grants_user ON authority_grants (user_id);
