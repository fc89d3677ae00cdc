-- The template of a deployment, as it was sent, for its export. It may hold what its author took for a secret.
CREATE TABLE arm_deployment_templates (
    deployment TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- its key in arm_resources
    run        TEXT NOT NULL, -- the deployment's correlation id
    sealed     BYTEA NOT NULL
);
