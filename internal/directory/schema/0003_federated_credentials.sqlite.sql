CREATE TABLE directory_federated_credentials (
  app_id    TEXT NOT NULL,
  name_key  TEXT NOT NULL,
  name      TEXT NOT NULL,
  issuer    TEXT NOT NULL,
  subject   TEXT NOT NULL,
  audiences TEXT NOT NULL,
  PRIMARY KEY (app_id, name_key),
  UNIQUE (app_id, issuer, subject)
) STRICT;
