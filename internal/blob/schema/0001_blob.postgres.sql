CREATE TABLE blob_accounts (
    id         BIGINT PRIMARY KEY,          -- random; a name that is used again gets another
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    resource   TEXT NOT NULL,               -- the account's ARM ID
    settings   TEXT NOT NULL,               -- JSON: what the data plane needs of the resource's properties
    keys       BYTEA NOT NULL,              -- JSON of the two shared keys, sealed by the keyring
    data_key   BYTEA NOT NULL,              -- the key over all of the account's bytes, sealed under its account key
    created    BIGINT NOT NULL
);

CREATE TABLE blob_containers (
    account    BIGINT NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    id         BIGINT NOT NULL UNIQUE,      -- random; a name that is used again gets another
    etag       TEXT NOT NULL,
    modified   BIGINT NOT NULL,
    metadata   TEXT NOT NULL,               -- JSON
    PRIMARY KEY (account, name)
);

CREATE TABLE blob_blobs (
    container  BIGINT NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    content    BIGINT NOT NULL,             -- names the bytes: blob_inline when pieces is 0, else blob_pieces
    pieces     BIGINT NOT NULL,
    size       BIGINT NOT NULL,
    etag       TEXT NOT NULL,
    created    BIGINT NOT NULL,
    modified   BIGINT NOT NULL,
    properties TEXT NOT NULL,               -- JSON: HTTP headers, MD5, tier, metadata
    PRIMARY KEY (container, name)
);

-- The bytes of small blobs stand apart from blob_blobs so that listing does not read past them.
CREATE TABLE blob_inline (
    content    BIGINT PRIMARY KEY,
    data       BYTEA NOT NULL               -- sealed
);

CREATE TABLE blob_pieces (
    content    BIGINT NOT NULL,
    position   BIGINT NOT NULL,             -- the first byte's offset in the blob
    size       BIGINT NOT NULL,             -- plaintext bytes, at least one
    object     TEXT COLLATE "C" NOT NULL,
    block      TEXT NOT NULL,               -- the block's id; empty for Put Blob
    PRIMARY KEY (content, position)
);
CREATE INDEX blob_pieces_object ON blob_pieces (object);

CREATE TABLE blob_blocks (
    container  BIGINT NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    block      TEXT COLLATE "C" NOT NULL,
    object     TEXT COLLATE "C" NOT NULL UNIQUE,
    size       BIGINT NOT NULL,
    created    BIGINT NOT NULL,
    PRIMARY KEY (container, name, block)
);
CREATE INDEX blob_blocks_created ON blob_blocks (created);

-- Objects that no blob needs any more, until the collector has deleted them.
CREATE TABLE blob_garbage (
    object     TEXT COLLATE "C" PRIMARY KEY,
    since      BIGINT NOT NULL
);
CREATE INDEX blob_garbage_since ON blob_garbage (since);

-- Containers that were deleted and whose blobs the collector has yet to remove.
CREATE TABLE blob_removed (
    container  BIGINT PRIMARY KEY,
    since      BIGINT NOT NULL
);
