package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// deletedLife is for how long what was deleted can be restored.
const deletedLife = 30 * 24 * time.Hour

// deleted is an object that was deleted and can be restored: it lies in a table of its own, so nothing that looks for
// it among the living has to know. Its secrets and certificates wait where they are, where nobody can use them.
type deleted struct {
	ID      string
	AppID   string
	Kind    Kind
	At      time.Time
	Content deletedContent
}

// deletedContent is what is put back.
type deletedContent struct {
	Name       string          `json:"name"`
	Enabled    bool            `json:"enabled"`
	Created    int64           `json:"created"` // microseconds
	Attributes json.RawMessage `json:"attributes"`
	Password   string          `json:"password,omitempty"` // argon2id
	MustChange bool            `json:"mustChange,omitempty"`
	Members    []string        `json:"members,omitempty"`
	MemberOf   []string        `json:"memberOf,omitempty"`
	Owners     []string        `json:"owners,omitempty"`
	Owned      []string        `json:"owned,omitempty"`
}

// registration is the kind under which an application lies among what was deleted; its service principal is Application.
const registration Kind = "Registration"

// bury moves an object to what was deleted. Its role assignments stay, and mean nobody.
func (d *Directory) bury(ctx context.Context, tx *store.Tx, o *object, now time.Time) error {
	attributes, err := json.Marshal(o.attributes)
	if err != nil {
		return err
	}
	c := deletedContent{Name: o.Name, Enabled: o.Enabled, Created: store.Micros(o.created), Attributes: attributes}
	for into, query := range map[*[]string]string{
		&c.Members:  `SELECT member_id FROM directory_members WHERE group_id = $1`,
		&c.MemberOf: `SELECT group_id FROM directory_members WHERE member_id = $1`,
		&c.Owners:   `SELECT owner_id FROM directory_owners WHERE object_id = $1`,
		&c.Owned:    `SELECT object_id FROM directory_owners WHERE owner_id = $1`,
	} {
		if *into, err = ids(ctx, tx, query, o.ID); err != nil {
			return fmt.Errorf("deleting %s: %w", o.ID, err)
		}
	}
	kind := o.Kind
	if o.set == applicationSet {
		kind = registration
	} else if o.Kind == User {
		err := tx.QueryRow(ctx, `SELECT hash, must_change FROM directory_passwords WHERE principal_id = $1`, o.ID).Scan(&c.Password, &c.MustChange)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("deleting %s: %w", o.ID, err)
		}
	}
	content, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO directory_deleted (id, app_id, kind, deleted, content) VALUES ($1, $2, $3, $4, $5)`,
		o.ID, o.AppID, string(kind), store.Micros(now), string(content))
	if err != nil {
		return fmt.Errorf("keeping %s, which is deleted: %w", o.ID, err)
	}
	if o.set == applicationSet {
		for _, statement := range []string{
			`DELETE FROM directory_owners WHERE object_id = $1`,
			`DELETE FROM directory_identifier_uris WHERE app_id = (SELECT app_id FROM directory_applications WHERE id = $1)`,
			`DELETE FROM directory_applications WHERE id = $1`,
		} {
			if _, err := tx.Exec(ctx, statement, o.ID); err != nil {
				return fmt.Errorf("deleting %s: %w", o.ID, err)
			}
		}
		return d.changed(ctx, tx, o.ID)
	}
	if err := d.detach(ctx, tx, o.ID); err != nil {
		return fmt.Errorf("deleting %s: %w", o.ID, err)
	}
	return d.changed(ctx, tx, o.ID)
}

// buried reads what was deleted and can still be restored.
func buried(ctx context.Context, tx *store.Tx, where string, args ...any) ([]deleted, error) {
	args = append(args, store.Micros(time.Now().Add(-deletedLife)))
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT id, app_id, kind, deleted, content FROM directory_deleted WHERE %s AND deleted > $%d ORDER BY id`, where, len(args)), args...)
	if err != nil {
		return nil, fmt.Errorf("reading what was deleted: %w", err)
	}
	defer rows.Close()
	var list []deleted
	for rows.Next() {
		var b deleted
		var at int64
		var content string
		if err := rows.Scan(&b.ID, &b.AppID, &b.Kind, &at, &content); err != nil {
			return nil, fmt.Errorf("reading what was deleted: %w", err)
		}
		b.At = store.Time(at)
		if err := json.Unmarshal([]byte(content), &b.Content); err != nil {
			return nil, fmt.Errorf("reading %s, which was deleted: %w", b.ID, err)
		}
		list = append(list, b)
	}
	return list, rows.Err()
}

// restore puts a deleted object back, with its credentials, and its places in groups and owners as far as those are
// there. What has taken its name meanwhile is azure.Error 409.
func (d *Directory) restore(ctx context.Context, tx *store.Tx, b deleted) error {
	c := b.Content
	if _, err := tx.Exec(ctx, `DELETE FROM directory_deleted WHERE id = $1`, b.ID); err != nil {
		return fmt.Errorf("restoring %s: %w", b.ID, err)
	}
	var err error
	switch b.Kind {
	case registration:
		err = restoreApplication(ctx, tx, b)
	case User:
		var n int64
		n, err = tx.Exec(ctx, `INSERT INTO directory_passwords (user_key, principal_id, hash, must_change, signed_out) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			key(c.Name), b.ID, c.Password, bit(c.MustChange), store.Micros(time.Now()))
		if err == nil && n == 0 {
			return errTaken("userPrincipalName", c.Name)
		}
	case Application:
		var there int
		err = tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM directory_applications WHERE app_id = $1) * (1 - (SELECT count(*) FROM directory_principals WHERE app_id = $1))`, b.AppID).Scan(&there)
		if err == nil && there == 0 {
			return azure.Errorf(http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue",
				"The service principal cannot be restored: its application %s is deleted, or has another service principal.", b.AppID)
		}
	}
	if err == nil && b.Kind != registration {
		if _, err = insert(ctx, tx, Principal{ID: b.ID, AppID: b.AppID, Kind: b.Kind, Name: c.Name, Enabled: c.Enabled}); err == nil {
			_, err = tx.Exec(ctx, `UPDATE directory_principals SET attributes = $1, created = $2 WHERE id = $3`, string(c.Attributes), c.Created, b.ID)
		}
	}
	if err == nil {
		err = d.reconnect(ctx, tx, b)
	}
	if err != nil {
		return fmt.Errorf("restoring %s: %w", b.ID, err)
	}
	return d.changed(ctx, tx, b.ID)
}

// reconnect puts a restored object back into groups and among owners.
func (d *Directory) reconnect(ctx context.Context, tx *store.Tx, b deleted) error {
	for _, link := range []struct {
		list  []string
		query string
	}{
		{b.Content.Members, `INSERT INTO directory_members (group_id, member_id) SELECT $1, id FROM directory_principals WHERE id = $2 ON CONFLICT DO NOTHING`},
		{b.Content.MemberOf, `INSERT INTO directory_members (group_id, member_id) SELECT id, $1 FROM directory_principals WHERE id = $2 AND kind = 'Group' ON CONFLICT DO NOTHING`},
		{b.Content.Owners, `INSERT INTO directory_owners (object_id, owner_id) SELECT $1, id FROM directory_principals WHERE id = $2 ON CONFLICT DO NOTHING`},
		{b.Content.Owned, `INSERT INTO directory_owners (object_id, owner_id) SELECT o.id, $1 FROM
			(SELECT id FROM directory_principals UNION ALL SELECT id FROM directory_applications) AS o WHERE o.id = $2 ON CONFLICT DO NOTHING`},
	} {
		for _, other := range link.list {
			if _, err := tx.Exec(ctx, link.query, b.ID, other); err != nil {
				return err
			}
		}
	}
	return d.groups.Changed(ctx, tx, membersGeneration)
}

func restoreApplication(ctx context.Context, tx *store.Tx, b deleted) error {
	_, err := tx.Exec(ctx, `INSERT INTO directory_applications (id, app_id, name, created, attributes) VALUES ($1, $2, $3, $4, $5)`,
		b.ID, b.AppID, b.Content.Name, b.Content.Created, string(b.Content.Attributes))
	if err != nil {
		return err
	}
	var have registered
	if err := json.Unmarshal(b.Content.Attributes, &have); err != nil {
		return err
	}
	return setIdentifierURIs(ctx, tx, b.AppID, have.IdentifierURIs)
}

// forget deletes for good what was deleted.
func (d *Directory) forget(ctx context.Context, tx *store.Tx, b deleted) error {
	if b.Kind == registration {
		return forgetApplication(ctx, tx, b.ID, b.AppID)
	}
	return d.Delete(ctx, tx, b.ID)
}

// forgetOld forgets what can no longer be restored.
func (d *Directory) forgetOld(ctx context.Context, tx *store.Tx) error {
	rows, err := tx.Query(ctx, `SELECT id, app_id, kind FROM directory_deleted WHERE deleted <= $1`, store.Micros(time.Now().Add(-deletedLife)))
	if err != nil {
		return fmt.Errorf("reading what was deleted long ago: %w", err)
	}
	defer rows.Close()
	var old []deleted
	for rows.Next() {
		var b deleted
		if err := rows.Scan(&b.ID, &b.AppID, &b.Kind); err != nil {
			return fmt.Errorf("reading what was deleted long ago: %w", err)
		}
		old = append(old, b)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, b := range old {
		if err := d.forget(ctx, tx, b); err != nil {
			return err
		}
	}
	return nil
}

func errTaken(property, value string) *azure.Error {
	return azure.Errorf(http.StatusBadRequest, "Request_BadRequest", "Another object with the same value for property %s already exists: '%s'.", property, value)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
