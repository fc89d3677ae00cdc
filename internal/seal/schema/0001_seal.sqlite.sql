CREATE TABLE seal_keys (
    id      INTEGER PRIMARY KEY,
    root_id TEXT    NOT NULL,
    wrapped BLOB    NOT NULL,
    created INTEGER NOT NULL
) STRICT;
