-- No query has ever used the index of resources: SQLite goes by seq for "this resource or below".
DROP INDEX audit_records_resource;

-- Few records have an identity.
DROP INDEX audit_records_identity;
CREATE INDEX audit_records_identity ON audit_records (identity, seq) WHERE identity <> '';
