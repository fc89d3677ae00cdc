-- One row a resource that a run of a deployment has begun to write.
CREATE TABLE arm_deployment_steps (
    deployment TEXT NOT NULL, -- its key in arm_resources
    run        TEXT NOT NULL, -- the deployment's correlation id; the newest run's rows alone are kept
    number     INTEGER NOT NULL, -- place in the order of the resources
    target     TEXT NOT NULL, -- resource ID
    status     TEXT NOT NULL, -- Running, Succeeded, Failed
    operation  TEXT NOT NULL, -- in arm_operations, when the write is asynchronous; or empty
    error      TEXT NOT NULL, -- JSON or empty
    started    INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    PRIMARY KEY (deployment, run, number)
) STRICT;
