CREATE TABLE customerkey_keys (
  owner          TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- ARM ID, lower case
  generation     BIGINT  NOT NULL,             -- counts re-wraps, from 1
  customer       BIGINT  NOT NULL,             -- 1: wrapped by a customer's key
  key_identifier TEXT    NOT NULL,             -- as the customer gave it
  key_version    TEXT    NOT NULL,             -- the version that wraps, always with version
  principal_id   TEXT    NOT NULL,             -- the identity under which the key is used
  resource_id    TEXT    NOT NULL,
  identity_id    TEXT    NOT NULL,
  sealed         BYTEA   NOT NULL,             -- under the system key: check value, then the account key or what the vault made of it
  accessible     BIGINT  NOT NULL,
  denied         BIGINT  NOT NULL,
  code           TEXT    NOT NULL,
  detail         TEXT    NOT NULL,
  since          BIGINT  NOT NULL
);
CREATE INDEX customerkey_keys_customer ON customerkey_keys (owner) WHERE customer = 1;
