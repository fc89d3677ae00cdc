-- Few records have an identity.
DROP INDEX audit_records_identity;
CREATE INDEX audit_records_identity ON audit_records (identity, seq) WHERE identity <> '';
