CREATE TABLE blob_accounts (
    id         INTEGER PRIMARY KEY,          -- random; a name that is used again gets another
    name       TEXT NOT NULL UNIQUE,
    resource   TEXT NOT NULL,               -- the account's ARM ID
    settings   TEXT NOT NULL,               -- JSON: what the data plane needs of the resource's properties
    keys       BLOB NOT NULL,              -- JSON of the two shared keys, sealed by the keyring
    data_key   BLOB NOT NULL,              -- the key over all of the account's bytes, sealed under its account key
    created    INTEGER NOT NULL
) STRICT;

CREATE TABLE blob_containers (
    account    INTEGER NOT NULL,
    name       TEXT NOT NULL,
    id         INTEGER NOT NULL UNIQUE,      -- random; a name that is used again gets another
    etag       TEXT NOT NULL,
    modified   INTEGER NOT NULL,
    metadata   TEXT NOT NULL,               -- JSON
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE blob_blobs (
    container  INTEGER NOT NULL,
    name       TEXT NOT NULL,
    content    INTEGER NOT NULL,             -- names the bytes: blob_inline when pieces is 0, else blob_pieces
    pieces     INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    etag       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    modified   INTEGER NOT NULL,
    properties TEXT NOT NULL,               -- JSON: HTTP headers, MD5, tier, metadata
    PRIMARY KEY (container, name)
) STRICT, WITHOUT ROWID;

-- The bytes of small blobs stand apart from blob_blobs so that listing does not read past them.
CREATE TABLE blob_inline (
    content    INTEGER PRIMARY KEY,
    data       BLOB NOT NULL               -- sealed
) STRICT;

CREATE TABLE blob_pieces (
    content    INTEGER NOT NULL,
    position   INTEGER NOT NULL,             -- the first byte's offset in the blob
    size       INTEGER NOT NULL,             -- plaintext bytes, at least one
    object     TEXT NOT NULL,
    block      TEXT NOT NULL,               -- the block's id; empty for Put Blob
    PRIMARY KEY (content, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_pieces_object ON blob_pieces (object);

CREATE TABLE blob_blocks (
    container  INTEGER NOT NULL,
    name       TEXT NOT NULL,
    block      TEXT NOT NULL,
    object     TEXT NOT NULL UNIQUE,
    size       INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    PRIMARY KEY (container, name, block)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_blocks_created ON blob_blocks (created);

-- Objects that no blob needs any more, until the collector has deleted them.
CREATE TABLE blob_garbage (
    object     TEXT PRIMARY KEY,
    since      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_garbage_since ON blob_garbage (since);

-- Containers that were deleted and whose blobs the collector has yet to remove.
CREATE TABLE blob_removed (
    container  INTEGER PRIMARY KEY,
    since      INTEGER NOT NULL
) STRICT;
