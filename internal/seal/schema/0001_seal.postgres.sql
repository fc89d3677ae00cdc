CREATE TABLE seal_keys (
    id      BIGINT PRIMARY KEY,
    root_id TEXT   NOT NULL,
    wrapped BYTEA  NOT NULL,
    created BIGINT NOT NULL
);
