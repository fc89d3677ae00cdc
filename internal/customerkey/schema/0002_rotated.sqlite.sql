ALTER TABLE customerkey_keys ADD COLUMN rotated INTEGER NOT NULL DEFAULT 0; -- when key_version began to wrap; 0: not known
