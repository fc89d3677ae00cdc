CREATE TABLE audit_records (
    seq       INTEGER PRIMARY KEY,
    time      INTEGER NOT NULL,
    operation TEXT    NOT NULL,
    resource  TEXT    NOT NULL, -- lower case, as identity
    principal TEXT    NOT NULL,
    identity  TEXT    NOT NULL,
    body      TEXT    NOT NULL, -- the record's canonical JSON, without its hash
    hash      BLOB    NOT NULL
) STRICT;

CREATE INDEX audit_records_resource  ON audit_records (resource, seq);
CREATE INDEX audit_records_principal ON audit_records (principal, seq);
CREATE INDEX audit_records_identity  ON audit_records (identity, seq);
CREATE INDEX audit_records_time      ON audit_records (time);

-- The end of the chain, in one row, which every writer changes first.
CREATE TABLE audit_head (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    seq  INTEGER NOT NULL,
    hash BLOB    NOT NULL
) STRICT;

INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, zeroblob(32));
