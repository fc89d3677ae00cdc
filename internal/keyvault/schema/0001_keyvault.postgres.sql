-- A vault's name is taken from its creation until it is purged. A live vault is the resource manager's; location, tags
-- and properties are filled when it is deleted, for its recovery.
CREATE TABLE keyvault_vaults (
	name         TEXT COLLATE "C" NOT NULL PRIMARY KEY,  -- lower case
	id           TEXT COLLATE "C" NOT NULL UNIQUE,  -- GUID; another one when the name is used again after a purge
	deleted      BIGINT NOT NULL,  -- 0 is live
	purge        BIGINT NOT NULL,  -- when a deleted vault ceases to be recoverable
	resource     TEXT COLLATE "C" NOT NULL,  -- ARM ID
	subscription TEXT COLLATE "C" NOT NULL,  -- lower case
	location     TEXT COLLATE "C" NOT NULL,
	tags         TEXT COLLATE "C" NOT NULL,  -- JSON
	properties   TEXT COLLATE "C" NOT NULL  -- JSON
);

CREATE TABLE keyvault_keys (
	vault   TEXT COLLATE "C" NOT NULL,  -- keyvault_vaults.id
	name    TEXT COLLATE "C" NOT NULL,  -- lower case
	shown   TEXT COLLATE "C" NOT NULL,  -- as first written
	serial  BIGINT NOT NULL,  -- of the current version
	deleted BIGINT NOT NULL,  -- 0 is live
	purge   BIGINT NOT NULL,  -- when a deleted key ceases to be recoverable
	PRIMARY KEY (vault, name)
);

CREATE INDEX keyvault_keys_purge ON keyvault_keys (purge) WHERE deleted > 0;

CREATE TABLE keyvault_versions (
	vault    TEXT COLLATE "C" NOT NULL,
	name     TEXT COLLATE "C" NOT NULL,
	serial   BIGINT NOT NULL,  -- 1, 2, ... in order of creation
	version  TEXT COLLATE "C" NOT NULL,  -- 32 hexadecimal digits
	kty      TEXT COLLATE "C" NOT NULL,
	n        BYTEA NOT NULL,  -- modulus, big endian
	e        BIGINT NOT NULL,
	ops      TEXT COLLATE "C" NOT NULL,  -- JSON
	enabled  BIGINT NOT NULL,
	nbf      BIGINT NOT NULL,  -- 0 is none
	exp      BIGINT NOT NULL,  -- 0 is none
	created  BIGINT NOT NULL,
	updated  BIGINT NOT NULL,
	tags     TEXT COLLATE "C" NOT NULL,  -- JSON
	private  BYTEA NOT NULL,  -- PKCS#8, sealed
	PRIMARY KEY (vault, name, serial),
	UNIQUE (vault, name, version)
);
