package keyreel

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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

// passwordLength is that of the first user's password, in characters of five bits.
const passwordLength = 24

// Installation is what the first start made.
type Installation struct {
	TenantID       string // GUID
	SubscriptionID string // GUID of the first subscription
	AdminAppID     string // client id of the administrator's application, Owner of the tenant's root scope
	AdminUser      string // with what name a person signs in as the administrator; "" when there were users before, or it is gone
}

// Credentials are what a client needs to sign in as the administrator, a program with the client's and a person with the
// user's; the file that Open writes with mode 0600. Both are Owner of the tenant's root scope.
type Credentials struct {
	TenantID       string `json:"tenantId"`
	SubscriptionID string `json:"subscriptionId"`
	ClientID       string `json:"clientId"`
	ClientSecret   string `json:"clientSecret"`
	UserName       string `json:"userName,omitempty"`
	Password       string `json:"password,omitempty"`
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

// setUp makes the first subscription and the administrator: an application, and a user unless the tenant has one. The
// credentials are on disk before the transaction that makes them valid, so a crash in between leaves a file that the next
// start replaces and never an administrator whose secret nobody knows.
func (s *Server) setUp(ctx context.Context) error {
	password := seal.Secret(rand.Text()[:passwordLength])
	hash := directory.HashPassword(password)
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		if err := s.manager.CreateSubscription(ctx, tx, s.install.SubscriptionID, "Keyreel"); err != nil {
			return err
		}
		var userID string
		err := tx.QueryRow(ctx, `SELECT admin_app_id, admin_user_id FROM install_tenant WHERE singleton = 1`).Scan(&s.install.AdminAppID, &userID)
		if err != nil {
			return err
		}
		users, err := s.directory.HasUsers(ctx, tx)
		if err != nil {
			return err
		}
		var made Credentials
		if s.install.AdminAppID == "" {
			if made.ClientID, made.ClientSecret, err = s.createAdministrator(ctx, tx); err != nil {
				return err
			}
			s.install.AdminAppID = made.ClientID
		}
		if userID == "" && !users {
			made.UserName, made.Password = "admin@"+s.config.Domain, password.Reveal()
			if err := s.createAdminUser(ctx, tx, made.UserName, hash); err != nil {
				return err
			}
		}
		if made == (Credentials{}) {
			return nil
		}
		return s.writeCredentials(made)
	})
	if err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	return s.findAdminUser(ctx)
}

func (s *Server) createAdministrator(ctx context.Context, tx *store.Tx) (clientID, secret string, err error) {
	admin, made, err := s.directory.CreateApplication(ctx, tx, "Keyreel administrator")
	if err != nil {
		return "", "", err
	}
	if err := s.makeOwner(ctx, tx, admin); err != nil {
		return "", "", err
	}
	_, err = tx.Exec(ctx, `UPDATE install_tenant SET admin_app_id = $1 WHERE singleton = 1`, admin.AppID)
	return admin.AppID, made.Reveal(), err
}

func (s *Server) createAdminUser(ctx context.Context, tx *store.Tx, name string, hash directory.PasswordHash) error {
	admin, err := s.directory.AddUser(ctx, tx, name, hash)
	if err != nil {
		return err
	}
	if err := s.makeOwner(ctx, tx, admin); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE install_tenant SET admin_user_id = $1 WHERE singleton = 1`, admin.ID)
	return err
}

func (s *Server) makeOwner(ctx context.Context, tx *store.Tx, admin directory.Principal) error {
	return s.rbac.Assign(ctx, tx, rbac.Assignment{
		ID: azure.NewGUID(), Scope: "/", RoleID: ownerRole, PrincipalID: admin.ID, PrincipalType: admin.Type(),
		Description: "made by the first start", CreatedBy: admin.ID, Created: time.Now(),
	})
}

// findAdminUser reads the name of the user that was made, who may have been renamed or deleted since.
func (s *Server) findAdminUser(ctx context.Context) error {
	var id string
	err := s.db.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT admin_user_id FROM install_tenant WHERE singleton = 1`).Scan(&id)
	})
	if err != nil {
		return fmt.Errorf("reading the installation: %w", err)
	}
	user, err := s.directory.Principal(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	s.install.AdminUser = user.Name
	return err
}

// writeCredentials adds what was made to the file, which holds the application's secret when only the user is new.
func (s *Server) writeCredentials(made Credentials) error {
	path := s.config.path(credentialsFile)
	var all Credentials
	if made.ClientID == "" {
		if err := readCredentials(path, &all); err != nil && !errors.Is(err, os.ErrNotExist) { // it may be kept elsewhere
			return err
		}
	} else {
		all.ClientID, all.ClientSecret = made.ClientID, made.ClientSecret
	}
	all.TenantID, all.SubscriptionID = s.install.TenantID, s.install.SubscriptionID
	all.UserName, all.Password = made.UserName, made.Password
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}

func readCredentials(path string, to *Credentials) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// Installation returns what the first start made.
func (s *Server) Installation() Installation { return s.install }
