package directory

import (
	"net/http"

	"github.com/keyreel/keyreel/internal/azure"
)

// graphRow is a row that the owners of the object it names may use too, when it is of a set.
type graphRow struct {
	azure.Route
	owned *objectSet
}

type handle = func(http.ResponseWriter, *azure.Request) error

// Routes lists the operations.
func (g *Graph) Routes() []azure.Route {
	var routes []azure.Route
	for _, row := range g.rows(nil) {
		routes = append(routes, row.Route)
	}
	return routes
}

// table collects rows.
type table struct{ rows []graphRow }

func (t *table) add(owned *objectSet, name, method, path, action string, h handle) {
	t.rows = append(t.rows, graphRow{owned: owned, Route: azure.Route{
		Name: "Graph." + name, Method: method, Pattern: "/v1.0/" + path, Action: action, MaxBody: maxObject, Handle: h,
	}})
}

func (t *table) read(name, path string, h handle) {
	t.add(nil, name, http.MethodGet, path, readDirectory, h)
}

func (t *table) ask(name, path string, h handle) {
	t.add(nil, name, http.MethodPost, path, readDirectory, h)
}

func (t *table) change(name, method, path string, h handle) {
	t.add(nil, name, method, path, changeDirectory, h)
}

// links adds the ways of reading what an object leads to.
func (t *table) links(g *Graph, s *objectSet, name, relation, query string) {
	path := s.name + "/{id}/" + relation
	t.read(s.name+".List"+name+"Refs", path+"/$ref", g.linked(s, query, true))
	t.read(s.name+".List"+name+"OfType", path+"/{cast}", g.linked(s, query, false))
	t.read(s.name+".List"+name, path, g.linked(s, query, false))
}

// rows are all rows; a batch sends each of its requests to serve.
func (g *Graph) rows(serve http.Handler) []graphRow {
	t := &table{rows: []graphRow{{Route: azure.Route{
		Name: "Graph.batch", Method: http.MethodPost, Pattern: "/v1.0/$batch", Action: readDirectory, MaxBody: maxBatchBody, Handle: g.batch(serve),
	}}}}
	for _, s := range []*objectSet{applicationSet, servicePrincipalSet, userSet, groupSet} {
		owned := s
		if s == userSet {
			owned = nil
		}
		t.read(s.name+".Count", s.name+"/$count", g.number(s))
		t.read(s.name+".List", s.name, g.list(s))
		t.read(s.name+".Get", s.name+"/{id}", g.get(s))
		t.add(owned, s.name+".Update", http.MethodPatch, s.name+"/{id}", changeDirectory, g.update(s))
		t.add(owned, s.name+".Delete", http.MethodDelete, s.name+"/{id}", changeDirectory, g.delete(s))
		if s != userSet {
			t.links(g, s, "Owners", "owners", toOwners)
			t.add(s, s.name+".AddOwner", http.MethodPost, s.name+"/{id}/owners/$ref", changeDirectory, g.postOwner(s))
			t.add(s, s.name+".RemoveOwner", http.MethodDelete, s.name+"/{id}/owners/{owner}/$ref", changeDirectory, g.deleteOwner(s))
		}
		if s != applicationSet {
			t.links(g, s, "MemberOf", "memberOf", toMemberOf)
			t.links(g, s, "TransitiveMemberOf", "transitiveMemberOf", toAllMemberOf)
			t.ask(s.name+".GetMemberGroups", s.name+"/{id}/getMemberGroups", g.memberGroups(s))
			t.ask(s.name+".GetMemberObjects", s.name+"/{id}/getMemberObjects", g.memberGroups(s))
			t.ask(s.name+".CheckMemberGroups", s.name+"/{id}/checkMemberGroups", g.checkMemberGroups(s))
			t.ask(s.name+".CheckMemberObjects", s.name+"/{id}/checkMemberObjects", g.checkMemberGroups(s))
			t.assignments(g, s, "AppRoleAssignment", "appRoleAssignments", asPrincipal)
		}
		if s == userSet || s == servicePrincipalSet {
			t.links(g, s, "OwnedObjects", "ownedObjects", toOwned)
			t.read(s.name+".ListPermissionGrants", s.name+"/{id}/oauth2PermissionGrants", g.listGrants(s))
		}
	}
	g.applicationRows(t)
	g.memberRows(t)
	g.meRows(t)
	g.tenantRows(t)
	return t.rows
}

func (t *table) assignments(g *Graph, s *objectSet, name, relation string, as side) {
	path := s.name + "/{id}/" + relation
	t.read(s.name+".List"+name+"s", path, g.listAssignments(s, as))
	t.read(s.name+".Get"+name, path+"/{assignment}", g.getAssignment(s, as))
	t.change(s.name+".Create"+name, http.MethodPost, path, g.createAssignment(s, as))
	t.change(s.name+".Delete"+name, http.MethodDelete, path+"/{assignment}", g.deleteAssignment(s, as))
}

func (g *Graph) applicationRows(t *table) {
	t.change("applications.Create", http.MethodPost, "applications", g.createApplication)
	t.change("servicePrincipals.Create", http.MethodPost, "servicePrincipals", g.createServicePrincipal)
	for _, s := range []*objectSet{applicationSet, servicePrincipalSet} {
		t.add(s, s.name+".AddPassword", http.MethodPost, s.name+"/{id}/addPassword", changeDirectory, g.addPassword(s))
		t.add(s, s.name+".RemovePassword", http.MethodPost, s.name+"/{id}/removePassword", changeDirectory, g.removePassword(s))
	}
	const path = "applications/{id}/federatedIdentityCredentials"
	t.read("applications.ListFederatedIdentityCredentials", path, g.listFederated)
	t.read("applications.GetFederatedIdentityCredential", path+"/{credential}", g.getFederated)
	t.add(applicationSet, "applications.CreateFederatedIdentityCredential", http.MethodPost, path, changeDirectory, g.createFederated)
	t.add(applicationSet, "applications.UpdateFederatedIdentityCredential", http.MethodPatch, path+"/{credential}", changeDirectory, g.updateFederated)
	t.add(applicationSet, "applications.DeleteFederatedIdentityCredential", http.MethodDelete, path+"/{credential}", changeDirectory, g.deleteFederated)
	t.assignments(g, servicePrincipalSet, "AppRoleAssignedTo", "appRoleAssignedTo", asResource)
	t.read("oauth2PermissionGrants.List", "oauth2PermissionGrants", g.listGrants(nil))
	t.read("oauth2PermissionGrants.Get", "oauth2PermissionGrants/{id}", g.getGrant)
	t.change("oauth2PermissionGrants.Create", http.MethodPost, "oauth2PermissionGrants", g.createGrant)
	t.change("oauth2PermissionGrants.Update", http.MethodPatch, "oauth2PermissionGrants/{id}", g.updateGrant)
	t.change("oauth2PermissionGrants.Delete", http.MethodDelete, "oauth2PermissionGrants/{id}", g.deleteGrant)
}

func (g *Graph) memberRows(t *table) {
	t.change("users.Create", http.MethodPost, "users", g.createUser)
	t.change("users.RevokeSignInSessions", http.MethodPost, "users/{id}/revokeSignInSessions", g.revokeSignIns)
	t.read("users.GetManagerRef", "users/{id}/manager/$ref", g.getManager(true))
	t.read("users.GetManager", "users/{id}/manager", g.getManager(false))
	t.change("users.SetManager", http.MethodPut, "users/{id}/manager/$ref", g.putManager)
	t.change("users.RemoveManager", http.MethodDelete, "users/{id}/manager/$ref", g.deleteManager)
	t.change("groups.Create", http.MethodPost, "groups", g.createGroup)
	t.links(g, groupSet, "Members", "members", toMembers)
	t.links(g, groupSet, "TransitiveMembers", "transitiveMembers", toAllMembers)
	t.add(groupSet, "groups.AddMember", http.MethodPost, "groups/{id}/members/$ref", changeDirectory, g.postMember)
	t.add(groupSet, "groups.RemoveMember", http.MethodDelete, "groups/{id}/members/{member}/$ref", changeDirectory, g.removeMember)
	t.read("directoryObjects.Get", "directoryObjects/{id}", g.getObject)
	t.ask("directoryObjects.GetByIds", "directoryObjects/getByIds", g.getByIDs)
	t.ask("directoryObjects.GetMemberGroups", "directoryObjects/{id}/getMemberGroups", g.memberGroups(nil))
	t.ask("directoryObjects.GetMemberObjects", "directoryObjects/{id}/getMemberObjects", g.memberGroups(nil))
	t.ask("directoryObjects.CheckMemberGroups", "directoryObjects/{id}/checkMemberGroups", g.checkMemberGroups(nil))
	t.ask("directoryObjects.CheckMemberObjects", "directoryObjects/{id}/checkMemberObjects", g.checkMemberGroups(nil))
}

// mine lets a row work on the user who calls.
func mine(h handle) handle {
	return func(w http.ResponseWriter, r *azure.Request) error {
		if r.Caller.Type != azure.TypeUser {
			return azure.Errorf(http.StatusBadRequest, "BadRequest", "/me request is only valid with delegated authentication flow.")
		}
		r.Vars["id"] = r.Caller.ObjectID
		return h(w, r)
	}
}

func (g *Graph) meRows(t *table) {
	t.read("me.Get", "me", mine(g.get(userSet)))
	t.add(nil, "me.RevokeSignInSessions", http.MethodPost, "me/revokeSignInSessions", endOwn, mine(g.revokeSignIns))
	t.add(nil, "me.ChangePassword", http.MethodPost, "me/changePassword", changeOwn, mine(g.changePassword))
	for _, link := range []struct{ name, relation, query string }{
		{"MemberOf", "memberOf", toMemberOf}, {"TransitiveMemberOf", "transitiveMemberOf", toAllMemberOf}, {"OwnedObjects", "ownedObjects", toOwned},
	} {
		t.read("me.List"+link.name+"OfType", "me/"+link.relation+"/{cast}", mine(g.linked(userSet, link.query, false)))
		t.read("me.List"+link.name, "me/"+link.relation, mine(g.linked(userSet, link.query, false)))
	}
	t.read("me.GetManager", "me/manager", mine(g.getManager(false)))
	t.read("me.ListAppRoleAssignments", "me/appRoleAssignments", mine(g.listAssignments(userSet, asPrincipal)))
	t.read("me.ListPermissionGrants", "me/oauth2PermissionGrants", mine(g.listGrants(userSet)))
	t.ask("me.GetMemberGroups", "me/getMemberGroups", mine(g.memberGroups(userSet)))
	t.ask("me.GetMemberObjects", "me/getMemberObjects", mine(g.memberGroups(userSet)))
	t.ask("me.CheckMemberGroups", "me/checkMemberGroups", mine(g.checkMemberGroups(userSet)))
}

func (g *Graph) tenantRows(t *table) {
	t.read("deletedItems.Get", "directory/deletedItems/{id}", g.getDeleted)
	t.change("deletedItems.Restore", http.MethodPost, "directory/deletedItems/{id}/restore", g.restoreDeleted)
	t.change("deletedItems.Delete", http.MethodDelete, "directory/deletedItems/{id}", g.deleteDeleted)
	organizations := func() []map[string]any { return []map[string]any{g.organization()} }
	domains := func() []map[string]any { return []map[string]any{g.domain()} }
	none := func() []map[string]any { return []map[string]any{} }
	t.read("organization.List", "organization", g.constant("organization", organizations))
	t.read("organization.Get", "organization/{id}", g.constantObject("organization", organizations))
	t.read("domains.List", "domains", g.constant("domains", domains))
	t.read("domains.Get", "domains/{id}", g.constantObject("domains", domains))
	// There are no directory roles: who may do what is decided by roles of Azure's.
	t.read("directoryRoles.List", "directoryRoles", g.constant("directoryRoles", none))
	t.read("directoryRoles.Get", "directoryRoles/{id}", g.constantObject("directoryRoles", none))
	t.read("directoryRoleTemplates.List", "directoryRoleTemplates", g.constant("directoryRoleTemplates", none))
	t.read("directoryRoleTemplates.Get", "directoryRoleTemplates/{id}", g.constantObject("directoryRoleTemplates", none))
	t.read("administrativeUnits.List", "directory/administrativeUnits", g.constant("administrativeUnits", none))
}
