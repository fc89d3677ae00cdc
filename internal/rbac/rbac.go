package rbac

import (
	"context"
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/store"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Schema holds custom definitions, role assignments and deny assignments; the built-in definitions are code.
var Schema = store.Schema{Name: "rbac", FS: schemaFS}

const generation = rowcache.Table("rbac_generation")

// Permission is one block of a role definition. "*" stands for any characters, "/" included; case does not count.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`

	// Condition must be met beside that of the assignment. Built-in roles alone have one.
	Condition        string `json:"condition,omitempty"`
	ConditionVersion string `json:"conditionVersion,omitempty"`
}

// filled has empty lists in place of nil ones: clients expect [] on the wire.
func (p Permission) filled() Permission {
	for _, list := range []*[]string{&p.Actions, &p.NotActions, &p.DataActions, &p.NotDataActions} {
		if *list == nil {
			*list = []string{}
		}
	}
	return p
}

// Definition is a role.
type Definition struct {
	ID          string // GUID
	Name        string // roleName
	Description string
	BuiltIn     bool
	Permissions []Permission
	Scopes      []string // assignableScopes
}

// Assignment grants a role to a principal at a scope and all below it.
type Assignment struct {
	ID            string // GUID
	Scope         string // canonical ARM ID
	RoleID        string // Definition.ID
	PrincipalID   string
	PrincipalType string // azure.TypeUser, TypeGroup, TypeServicePrincipal
	Description   string
	Condition     string // in the language of ConditionVersion; empty is none
	CreatedBy     string
	Created       time.Time
	UpdatedBy     string    // who last wrote it; for a new one CreatedBy
	Updated       time.Time // for a new one Created
}

// RBAC decides. It is safe for concurrent use.
type RBAC struct {
	db      *store.DB
	builtin map[string]*role // by GUID; never changed
	narrow  []*role          // the built-in roles from the narrowest to the widest
	held    rowcache.Cache[*held]
}

// New returns the decider over db. Decisions see a change made in this process at once, and one made by another
// node within 5 s.
func New(ctx context.Context, db *store.DB) (*RBAC, error) {
	r := &RBAC{db: db, builtin: map[string]*role{}}
	for _, d := range builtins {
		r.builtin[d.ID] = newRole(d)
	}
	r.narrow = slices.SortedFunc(maps.Values(r.builtin), func(a, b *role) int {
		if a.breadth != b.breadth {
			return a.breadth - b.breadth
		}
		return strings.Compare(a.Name, b.Name)
	})
	if _, err := r.heldBy(ctx, ""); err != nil {
		return nil, fmt.Errorf("opening the role assignments: %w", err)
	}
	return r, nil
}

// Close ends the use of r. It holds nothing that needs to be released.
func (r *RBAC) Close() error { return nil }
