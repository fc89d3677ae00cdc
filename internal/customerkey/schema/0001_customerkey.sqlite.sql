CREATE TABLE customerkey_keys (
  owner          TEXT    NOT NULL PRIMARY KEY, -- ARM ID, lower case
  generation     INTEGER NOT NULL,             -- counts re-wraps, from 1
  customer       INTEGER NOT NULL,             -- 1: wrapped by a customer's key
  key_identifier TEXT    NOT NULL,             -- as the customer gave it
  key_version    TEXT    NOT NULL,             -- the version that wraps, always with version
  principal_id   TEXT    NOT NULL,             -- the identity under which the key is used
  resource_id    TEXT    NOT NULL,
  identity_id    TEXT    NOT NULL,
  sealed         BLOB    NOT NULL,             -- under the system key: check value, then the account key or what the vault made of it
  accessible     INTEGER NOT NULL,
  denied         INTEGER NOT NULL,
  code           TEXT    NOT NULL,
  detail         TEXT    NOT NULL,
  since          INTEGER NOT NULL
) STRICT;
CREATE INDEX customerkey_keys_customer ON customerkey_keys (owner) WHERE customer = 1;
