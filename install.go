package keyreel

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/durable"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

var installSchema = store.Schema{Name: "install", FS: schemaFS}

// ownerRole is the GUID of the built-in role Owner.
const ownerRole = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"

// Installation is what the first start made.
type Installation struct {
	TenantID       string // GUID
	SubscriptionID string // GUID of the first subscription
	AdminAppID     string // client id of the administrator's application, Owner of the tenant's root scope
}

// Credentials are what a client needs to sign in as the administrator; the file that Open writes with mode 0600.
type Credentials struct {
	TenantID       string `json:"tenantId"`
	SubscriptionID string `json:"subscriptionId"`
	ClientID       string `json:"clientId"`
	ClientSecret   string `json:"clientSecret"`
}

// installation returns the tenant and subscription, and decides on them at the first start.
func (s *Server) installation(ctx context.Context) (Installation, error) {
	fresh := Installation{TenantID: azure.NewGUID(), SubscriptionID: azure.NewGUID()}
	var in Installation
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO install_tenant (singleton, tenant_id, subscription_id, created) VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING`,
			fresh.TenantID, fresh.SubscriptionID, store.Micros(time.Now()))
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT tenant_id, subscription_id, admin_app_id FROM install_tenant WHERE singleton = 1`).
			Scan(&in.TenantID, &in.SubscriptionID, &in.AdminAppID)
	})
	if err != nil {
		return in, fmt.Errorf("reading the installation: %w", err)
	}
	return in, nil
}

// setUp makes the first subscription and the administrator. The credentials are on disk before the transaction that
// makes them valid, so a crash in between leaves a file that the next start replaces and never an administrator whose
// secret nobody knows.
func (s *Server) setUp(ctx context.Context) error {
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		if err := s.manager.CreateSubscription(ctx, tx, s.install.SubscriptionID, "Keyreel"); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT admin_app_id FROM install_tenant WHERE singleton = 1`).Scan(&s.install.AdminAppID)
		if err != nil || s.install.AdminAppID != "" {
			return err
		}
		return s.createAdministrator(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	return nil
}

func (s *Server) createAdministrator(ctx context.Context, tx *store.Tx) error {
	admin, secret, err := s.directory.CreateApplication(ctx, tx, "Keyreel administrator")
	if err != nil {
		return err
	}
	err = s.rbac.Assign(ctx, tx, rbac.Assignment{
		ID: azure.NewGUID(), Scope: "/", RoleID: ownerRole, PrincipalID: admin.ID, PrincipalType: admin.Type(),
		Description: "made by the first start", CreatedBy: admin.ID, Created: time.Now(),
	})
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE install_tenant SET admin_app_id = $1 WHERE singleton = 1`, admin.AppID); err != nil {
		return err
	}
	s.install.AdminAppID = admin.AppID
	return s.writeCredentials(admin, secret)
}

func (s *Server) writeCredentials(admin directory.Principal, secret seal.Secret) error {
	data, err := json.MarshalIndent(Credentials{
		TenantID: s.install.TenantID, SubscriptionID: s.install.SubscriptionID,
		ClientID: admin.AppID, ClientSecret: string(secret),
	}, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(s.config.path(credentialsFile), append(data, '\n'), 0o600)
}

// Installation returns what the first start made.
func (s *Server) Installation() Installation { return s.install }
