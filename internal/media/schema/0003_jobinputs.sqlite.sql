-- URLs of JobInputHttp: one JSON document a job, sealed under the account key and the system key.
CREATE TABLE media_job_inputs (
  job    TEXT NOT NULL PRIMARY KEY, -- ARM ID, lower case
  sealed BLOB NOT NULL
) STRICT;
