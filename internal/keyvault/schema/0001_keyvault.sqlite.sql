-- A vault's name is taken from its creation until it is purged. A live vault is the resource manager's; location, tags
-- and properties are filled when it is deleted, for its recovery.
CREATE TABLE keyvault_vaults (
	name         TEXT NOT NULL PRIMARY KEY, -- lower case
	id           TEXT NOT NULL UNIQUE,      -- GUID; another one when the name is used again after a purge
	deleted      INTEGER NOT NULL,          -- 0 is live
	purge        INTEGER NOT NULL,          -- when a deleted vault ceases to be recoverable
	resource     TEXT NOT NULL,             -- ARM ID
	subscription TEXT NOT NULL,             -- lower case
	location     TEXT NOT NULL,
	tags         TEXT NOT NULL,             -- JSON
	properties   TEXT NOT NULL              -- JSON
) STRICT;

CREATE TABLE keyvault_keys (
	vault   TEXT NOT NULL,    -- keyvault_vaults.id
	name    TEXT NOT NULL,    -- lower case
	shown   TEXT NOT NULL,    -- as first written
	serial  INTEGER NOT NULL, -- of the current version
	deleted INTEGER NOT NULL, -- 0 is live
	purge   INTEGER NOT NULL, -- when a deleted key ceases to be recoverable
	PRIMARY KEY (vault, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX keyvault_keys_purge ON keyvault_keys (purge) WHERE deleted > 0;

CREATE TABLE keyvault_versions (
	vault    TEXT NOT NULL,
	name     TEXT NOT NULL,
	serial   INTEGER NOT NULL, -- 1, 2, ... in order of creation
	version  TEXT NOT NULL,    -- 32 hexadecimal digits
	kty      TEXT NOT NULL,
	n        BLOB NOT NULL,    -- modulus, big endian
	e        INTEGER NOT NULL,
	ops      TEXT NOT NULL,    -- JSON
	enabled  INTEGER NOT NULL,
	nbf      INTEGER NOT NULL, -- 0 is none
	exp      INTEGER NOT NULL, -- 0 is none
	created  INTEGER NOT NULL,
	updated  INTEGER NOT NULL,
	tags     TEXT NOT NULL,    -- JSON
	private  BLOB NOT NULL,    -- PKCS#8, sealed
	PRIMARY KEY (vault, name, serial),
	UNIQUE (vault, name, version)
) STRICT;
