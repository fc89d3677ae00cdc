package directory

import (
	"context"
	"fmt"
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rowcache"
	"github.com/keyreel/keyreel/internal/store"
)

const membersGeneration = rowcache.Table("directory_members_generation")

// Groups returns the object ids of the groups that a principal is in, through other groups too, in order. It answers
// from memory, with the promise of [Directory.Principal].
func (d *Directory) Groups(ctx context.Context, principalID string) ([]string, error) {
	return d.groups.Get(ctx, rowcache.Source[[]string]{DB: d.DB, Table: membersGeneration, Load: loadGroups}, key(principalID))
}

// loadGroups climbs from group to group; UNION drops what it has seen, so that groups in a circle end too.
func loadGroups(ctx context.Context, tx *store.Tx, id string) ([]string, error) {
	groups, err := ids(ctx, tx, `WITH RECURSIVE above(id) AS (
			SELECT group_id FROM directory_members WHERE member_id = $1
			UNION SELECT m.group_id FROM directory_members m JOIN above ON m.member_id = above.id)
		SELECT id FROM above ORDER BY id`, id)
	if err != nil {
		return nil, fmt.Errorf("reading the groups of principal %s: %w", id, err)
	}
	return groups, nil
}

// Members returns the object ids of a group's direct members, in order.
func (d *Directory) Members(ctx context.Context, groupID string) (members []string, err error) {
	err = d.DB.View(ctx, func(tx *store.Tx) error {
		members, err = ids(ctx, tx, `SELECT member_id FROM directory_members WHERE group_id = $1 ORDER BY member_id`, key(groupID))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the members of group %s: %w", groupID, err)
	}
	return members, nil
}

func ids(ctx context.Context, tx *store.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, rows.Err()
}

// CreateGroup makes a group without members.
func (d *Directory) CreateGroup(ctx context.Context, tx *store.Tx, name string) (Principal, error) {
	p := Principal{ID: azure.NewGUID(), Kind: Group, Name: name, Enabled: true}
	_, err := insert(ctx, tx, p)
	return p, err
}

// AddMember puts a principal into a group; false when it was there. A group or principal that does not exist is
// azure.Error 404 Request_ResourceNotFound.
func (d *Directory) AddMember(ctx context.Context, tx *store.Tx, groupID, memberID string) (bool, error) {
	groupID, memberID = key(groupID), key(memberID)
	n, err := tx.Exec(ctx, `INSERT INTO directory_members (group_id, member_id)
		SELECT g.id, p.id FROM directory_principals g, directory_principals p WHERE g.id = $1 AND g.kind = $2 AND p.id = $3 AND p.id <> g.id
		ON CONFLICT DO NOTHING`, groupID, string(Group), memberID)
	if err != nil {
		return false, fmt.Errorf("adding %s to group %s: %w", memberID, groupID, err)
	}
	if n == 1 {
		return true, d.groups.Changed(ctx, tx, membersGeneration)
	}
	var there int
	err = tx.QueryRow(ctx, `SELECT count(*) FROM directory_members WHERE group_id = $1 AND member_id = $2`, groupID, memberID).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("adding %s to group %s: %w", memberID, groupID, err)
	}
	if there == 0 {
		return false, azure.Errorf(http.StatusNotFound, "Request_ResourceNotFound",
			"'%s' is not a group of this directory, or '%s' is no other principal of it.", groupID, memberID)
	}
	return false, nil
}

// RemoveMember takes a principal out of a group; false when it was not there.
func (d *Directory) RemoveMember(ctx context.Context, tx *store.Tx, groupID, memberID string) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM directory_members WHERE group_id = $1 AND member_id = $2`, key(groupID), key(memberID))
	if err != nil {
		return false, fmt.Errorf("removing %s from group %s: %w", memberID, groupID, err)
	}
	if n == 0 {
		return false, nil
	}
	return true, d.groups.Changed(ctx, tx, membersGeneration)
}

// leaveGroups ends every membership of a principal that goes, and of others in it when it is a group.
func (d *Directory) leaveGroups(ctx context.Context, tx *store.Tx, id string) error {
	n, err := tx.Exec(ctx, `DELETE FROM directory_members WHERE member_id = $1 OR group_id = $1`, id)
	if err != nil || n == 0 {
		return err
	}
	return d.groups.Changed(ctx, tx, membersGeneration)
}
