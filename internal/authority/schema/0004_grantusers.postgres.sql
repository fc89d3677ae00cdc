ALTER TABLE authority_grants ADD COLUMN user_id TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE authority_grants SET user_id = coalesce(about::json -> 'signIn' ->> 'user', '');

CREATE INDEX authority_grants_user ON authority_grants (user_id);
