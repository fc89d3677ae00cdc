package directory

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

// Profile is a user as sign-ins and their tokens need to know the user.
type Profile struct {
	Principal
	// Stamp names the password as it is stored: a new password, even the same one again, has another stamp, and so has
	// one whose sign-ins were revoked. What was begun under an older one is over.
	Stamp       string
	MustChange  bool // the password is good for choosing another one only
	DisplayName string
	GivenName   string
	Surname     string
	Mail        string
}

// Profile returns a user by object id; sql.ErrNoRows when there is none. It is read from the database, so a change on
// another node is seen at once.
func (d *Directory) Profile(ctx context.Context, id string) (Profile, error) {
	return d.profile(ctx, `p.principal_id = $1`, key(id))
}

// ProfileByName returns a user by sign-in name; sql.ErrNoRows when there is none.
func (d *Directory) ProfileByName(ctx context.Context, name string) (Profile, error) {
	return d.profile(ctx, `p.user_key = $1`, key(name))
}

func (d *Directory) profile(ctx context.Context, where, arg string) (Profile, error) {
	p := Profile{Principal: Principal{Kind: User}}
	err := d.DB.View(ctx, func(tx *store.Tx) error {
		var hash, attributes string
		var signedOut int64
		err := tx.QueryRow(ctx, `SELECT u.id, u.name, u.enabled, u.attributes, p.hash, p.must_change, p.signed_out
			FROM directory_passwords p JOIN directory_principals u ON u.id = p.principal_id WHERE `+where, arg).
			Scan(&p.ID, &p.Name, &p.Enabled, &attributes, &hash, &p.MustChange, &signedOut)
		if err != nil {
			return err
		}
		if signedOut != 0 {
			hash += " " + strconv.FormatInt(signedOut, 10)
		}
		stamp := sha256.Sum256([]byte(hash))
		p.Stamp = base64.RawURLEncoding.EncodeToString(stamp[:16])
		var told map[string]any
		if err := json.Unmarshal([]byte(attributes), &told); err != nil {
			return fmt.Errorf("attributes of user %s: %w", p.ID, err)
		}
		for name, into := range map[string]*string{"displayName": &p.DisplayName, "givenName": &p.GivenName, "surname": &p.Surname, "mail": &p.Mail} {
			*into, _ = told[name].(string)
		}
		if p.DisplayName == "" {
			p.DisplayName = p.Name
		}
		return nil
	})
	if err != nil {
		return Profile{}, fmt.Errorf("reading a user's profile: %w", err)
	}
	return p, nil
}

// ByIdentifierURI returns the client id of the application that goes by an identifier URI; sql.ErrNoRows when none does.
// A slash at the end does not count.
func (d *Directory) ByIdentifierURI(ctx context.Context, uri string) (appID string, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, `SELECT app_id FROM directory_identifier_uris WHERE uri_key = $1 OR uri_key = $2`,
			key(uri), strings.TrimSuffix(key(uri), "/")).Scan(&appID)
	})
	if err != nil {
		return "", fmt.Errorf("reading the application with identifier URI '%s': %w", uri, err)
	}
	return appID, nil
}

// ReplacePassword gives a user who has proved the current password another one, within Entra's bounds; azure.Error 400 says
// which of them it is not in.
func (d *Directory) ReplacePassword(ctx context.Context, principalID string, password seal.Secret) error {
	if err := checkNewPassword(password, nil); err != nil {
		return err
	}
	return d.SetPassword(ctx, principalID, password, false)
}
