-- The user who was made for a person to sign in as; '' when there was a user before.
ALTER TABLE install_tenant ADD COLUMN admin_user_id TEXT NOT NULL DEFAULT '';
