CREATE TABLE audit_records (
    seq       BIGINT           PRIMARY KEY,
    time      BIGINT           NOT NULL,
    operation TEXT COLLATE "C" NOT NULL,
    resource  TEXT COLLATE "C" NOT NULL, -- lower case, as identity
    principal TEXT COLLATE "C" NOT NULL,
    identity  TEXT COLLATE "C" NOT NULL,
    body      TEXT             NOT NULL, -- the record's canonical JSON, without its hash
    hash      BYTEA            NOT NULL
);

CREATE INDEX audit_records_resource  ON audit_records (resource, seq);
CREATE INDEX audit_records_principal ON audit_records (principal, seq);
CREATE INDEX audit_records_identity  ON audit_records (identity, seq);
CREATE INDEX audit_records_time      ON audit_records (time);

-- The end of the chain, in one row, which every writer changes first.
CREATE TABLE audit_head (
    id   BIGINT PRIMARY KEY CHECK (id = 1),
    seq  BIGINT NOT NULL,
    hash BYTEA  NOT NULL
);

INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));
