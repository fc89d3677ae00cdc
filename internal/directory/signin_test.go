package directory_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/keyreel/keyreel/internal/directory"
	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func TestProfile(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		body := `{"displayName":"Ada L","givenName":"Ada","surname":"Lovelace","mail":"a@l.example","mailNickname":"ada","userPrincipalName":"Ada@example.org","accountEnabled":true,
			"passwordProfile":{"password":"Correct horse 1","forceChangePasswordNextSignIn":false}}`
		id := g.do("POST", "/v1.0/users", body, 201)["id"].(string)
		got, err := g.d.Profile(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		want := directory.Profile{
			Principal: directory.Principal{ID: id, Kind: directory.User, Name: "Ada@example.org", Enabled: true},
			Stamp:     got.Stamp, DisplayName: "Ada L", GivenName: "Ada", Surname: "Lovelace", Mail: "a@l.example",
		}
		if diff := cmp.Diff(want, got); diff != "" || got.Stamp == "" {
			t.Error(diff)
		}
		byName, err := g.d.ProfileByName(t.Context(), "ADA@example.org")
		if diff := cmp.Diff(want, byName); err != nil || diff != "" {
			t.Errorf("by name: %v %s", err, diff)
		}
		for _, unknown := range []string{"", "x", "\x00", "\xff"} {
			if _, err := g.d.ProfileByName(t.Context(), unknown); !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("%q: %v", unknown, err)
			}
			if _, err := g.d.Profile(t.Context(), unknown); !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("%q: %v", unknown, err)
			}
		}

		// The same password, set again, is another one.
		g.do("PATCH", "/v1.0/users/"+id, `{"passwordProfile":{"password":"Correct horse 1","forceChangePasswordNextSignIn":false}}`, 204)
		changed, err := g.d.Profile(t.Context(), id)
		if err != nil || changed.Stamp == got.Stamp {
			t.Errorf("the stamp after a new password: %s, %v", changed.Stamp, err)
		}
		update(t, g.d, func(ctx context.Context, tx *store.Tx) error { return g.d.SetEnabled(ctx, tx, id, false) })
		if disabled, err := g.d.Profile(t.Context(), id); err != nil || disabled.Enabled {
			t.Errorf("disabled: %+v, %v", disabled, err)
		}
	})
}

func TestByIdentifierURI(t *testing.T) {
	t.Parallel()
	storetest.Each(t, graphSchemas, func(t *testing.T, db *store.DB) {
		g := newGraph(t, db)
		app := g.do("POST", "/v1.0/applications", `{"displayName":"api","identifierUris":["api://Orders"]}`, 201)
		for _, uri := range []string{"api://Orders", "api://orders", "api://orders/"} {
			if got, err := g.d.ByIdentifierURI(t.Context(), uri); err != nil || got != app["appId"] {
				t.Errorf("%s: %s, %v", uri, got, err)
			}
		}
		if _, err := g.d.ByIdentifierURI(t.Context(), "api://order"); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("unknown: %v", err)
		}
	})
}
