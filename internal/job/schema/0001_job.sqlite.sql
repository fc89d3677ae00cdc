-- due: when a queued job may start, or when a running job's lease ends; so one range of one index has all that may be claimed.
-- lease: drawn anew with each claim; whoever does not know it has lost the job.
CREATE TABLE job (
	id           TEXT    NOT NULL PRIMARY KEY,
	kind         TEXT    NOT NULL,
	key          TEXT    NOT NULL,
	payload      TEXT    NOT NULL,
	state        TEXT    NOT NULL,
	due          INTEGER NOT NULL,
	lease        TEXT    NOT NULL,
	attempt      INTEGER NOT NULL,
	max_attempts INTEGER NOT NULL,
	canceling    INTEGER NOT NULL,
	progress     TEXT    NOT NULL,
	error        TEXT    NOT NULL,
	created      INTEGER NOT NULL,
	ended        INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX job_unfinished ON job (kind, key) WHERE key <> '' AND state IN ('queued', 'running');
CREATE INDEX job_due ON job (kind, due) WHERE state IN ('queued', 'running');
CREATE INDEX job_canceling ON job (lease) WHERE state = 'running' AND canceling = 1;
CREATE INDEX job_ended ON job (ended) WHERE ended > 0;
CREATE INDEX job_key ON job (kind, key, created);
