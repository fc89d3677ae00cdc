-- One row a subscription, resource group or resource. key is the resource ID in lower case, so that everything below
-- a resource stands in one range of keys.
CREATE TABLE arm_resources (
    key         TEXT NOT NULL PRIMARY KEY,
    id          TEXT NOT NULL, -- as first written
    type        TEXT NOT NULL, -- lower case
    unique_name TEXT UNIQUE, -- type:name in lower case, for types whose names are unique in the server
    location    TEXT NOT NULL,
    tags        TEXT NOT NULL, -- JSON
    kind        TEXT NOT NULL,
    sku         TEXT NOT NULL, -- JSON or empty
    identity    TEXT NOT NULL, -- JSON or empty
    properties  TEXT NOT NULL, -- JSON
    system      TEXT NOT NULL, -- JSON
    state       TEXT NOT NULL,
    ready       INTEGER NOT NULL, -- 0 until the first write was committed
    operation   TEXT NOT NULL, -- of the write or deletion that is on its way; empty when there is none
    etag        TEXT NOT NULL
) STRICT;
CREATE INDEX arm_resources_type ON arm_resources (type, key);

-- One row a write or deletion that takes more than one transaction.
CREATE TABLE arm_operations (
    id        TEXT NOT NULL PRIMARY KEY,
    resource  TEXT NOT NULL, -- resource ID
    principal TEXT NOT NULL, -- object id of who began it
    version   TEXT NOT NULL, -- api-version
    status    TEXT NOT NULL, -- InProgress, Succeeded, Failed
    started   INTEGER NOT NULL,
    ended     INTEGER NOT NULL,
    error     TEXT NOT NULL, -- JSON or empty
    work      TEXT NOT NULL -- JSON; empty once ended
) STRICT;
CREATE INDEX arm_operations_ended ON arm_operations (ended);
