-- The one row that says whose server this is.
CREATE TABLE install_tenant (
	singleton       INTEGER PRIMARY KEY CHECK (singleton = 1),
	tenant_id       TEXT NOT NULL,
	subscription_id TEXT NOT NULL,
	admin_app_id    TEXT NOT NULL DEFAULT '',
	created         INTEGER NOT NULL
) STRICT;
