-- due: when a queued job may start, or when a running job's lease ends; so one range of one index has all that may be claimed.
-- lease: drawn anew with each claim; whoever does not know it has lost the job.
CREATE TABLE job (
	id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	kind         TEXT COLLATE "C" NOT NULL,
	key          TEXT COLLATE "C" NOT NULL,
	payload      TEXT   NOT NULL,
	state        TEXT   NOT NULL,
	due          BIGINT NOT NULL,
	lease        TEXT   NOT NULL,
	attempt      BIGINT NOT NULL,
	max_attempts BIGINT NOT NULL,
	canceling    BIGINT NOT NULL,
	progress     TEXT   NOT NULL,
	error        TEXT   NOT NULL,
	created      BIGINT NOT NULL,
	ended        BIGINT NOT NULL
);
CREATE UNIQUE INDEX job_unfinished ON job (kind, key) WHERE key <> '' AND state IN ('queued', 'running');
CREATE INDEX job_due ON job (kind, due) WHERE state IN ('queued', 'running');
CREATE INDEX job_canceling ON job (lease) WHERE state = 'running' AND canceling = 1;
CREATE INDEX job_ended ON job (ended) WHERE ended > 0;
CREATE INDEX job_key ON job (kind, key, created);
