-- The changes of what nodes keep in memory: of live vaults, and of keys.
CREATE TABLE keyvault_generation (
	id INTEGER NOT NULL PRIMARY KEY,
	n  INTEGER NOT NULL
) STRICT;

INSERT INTO keyvault_generation (id, n) VALUES (1, 0);

CREATE TABLE keyvault_keys_generation (
	id INTEGER NOT NULL PRIMARY KEY,
	n  INTEGER NOT NULL
) STRICT;

INSERT INTO keyvault_keys_generation (id, n) VALUES (1, 0);
