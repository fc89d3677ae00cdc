-- Account keys of storage accounts that media accounts with storageAuthentication System hold, sealed under the media
-- account's key and the system key.
CREATE TABLE media_storage_keys (
  account TEXT  NOT NULL, -- media account, ARM ID, lower case
  storage TEXT  NOT NULL, -- storage account, ARM ID, lower case
  sealed  BYTEA NOT NULL,
  PRIMARY KEY (account, storage)
);
