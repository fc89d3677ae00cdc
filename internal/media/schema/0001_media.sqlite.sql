-- Content keys of streaming locators. The key is sealed under the account key and the system key.
CREATE TABLE media_content_keys (
  account TEXT    NOT NULL, -- ARM ID, lower case
  kid     TEXT    NOT NULL, -- the key's GUID, lower case
  locator TEXT    NOT NULL, -- ARM ID of the streaming locator, lower case
  type    TEXT    NOT NULL, -- EnvelopeEncryption
  label   TEXT    NOT NULL, -- labelReferenceInStreamingPolicy
  policy  TEXT    NOT NULL, -- name of the content key policy; empty is nobody's
  sealed  BLOB    NOT NULL,
  PRIMARY KEY (account, kid)
) STRICT;
CREATE INDEX media_content_keys_locator ON media_content_keys (locator);

-- Secrets of content key policies: one JSON document a policy, sealed as above.
CREATE TABLE media_policy_secrets (
  policy  TEXT NOT NULL PRIMARY KEY, -- ARM ID, lower case
  sealed  BLOB NOT NULL
) STRICT;

-- Streaming locators by the GUID in their URLs.
CREATE TABLE media_locators (
  account    TEXT NOT NULL,
  locator_id TEXT NOT NULL,
  locator    TEXT NOT NULL, -- ARM ID as first written
  PRIMARY KEY (account, locator_id)
) STRICT;
CREATE INDEX media_locators_locator ON media_locators (locator);

-- What was last seen of a storage account by a media account. It decides nothing; it is shown as status.
CREATE TABLE media_storage (
  account TEXT    NOT NULL,
  storage TEXT    NOT NULL, -- ARM ID, lower case
  code    TEXT    NOT NULL,
  detail  TEXT    NOT NULL,
  since   INTEGER NOT NULL,
  PRIMARY KEY (account, storage)
) STRICT;

-- The queue's job of a media job.
CREATE TABLE media_jobs (
  job      TEXT NOT NULL PRIMARY KEY, -- ARM ID, lower case
  queue_id TEXT NOT NULL
) STRICT;
