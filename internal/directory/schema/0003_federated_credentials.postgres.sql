CREATE TABLE directory_federated_credentials (
  app_id    TEXT COLLATE "C" NOT NULL,
  name_key  TEXT COLLATE "C" NOT NULL,
  name      TEXT COLLATE "C" NOT NULL,
  issuer    TEXT COLLATE "C" NOT NULL,
  subject   TEXT COLLATE "C" NOT NULL,
  audiences TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (app_id, name_key),
  UNIQUE (app_id, issuer, subject)
);
