package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// principal is somebody of the directory.
type principal struct {
	ID   string `json:"id"`
	Type string `json:"type"` // as role assignments name it
	Name string `json:"name"`
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// principal finds who is meant by an object id, an application's client id, a user principal name, the ARM ID of an
// identity or of a resource with one, or a display name.
func (a *administrator) principal(ctx context.Context, text string) (principal, error) {
	switch {
	case strings.HasPrefix(text, "/"):
		id, err := a.identityOf(ctx, text)
		if err != nil {
			return principal{}, err
		}
		return a.object(ctx, id)
	case guid.MatchString(text):
		p, err := a.object(ctx, text)
		if missing(err) {
			return a.first(ctx, text, "servicePrincipals(appId='"+text+"')")
		}
		return p, err
	case strings.Contains(text, "@"):
		return a.first(ctx, text, "users/"+url.PathEscape(text))
	}
	return a.named(ctx, text)
}

// object reads a principal by its object id.
func (a *administrator) object(ctx context.Context, id string) (principal, error) {
	return a.read(ctx, "directoryObjects/"+id)
}

func (a *administrator) read(ctx context.Context, path string) (principal, error) {
	var o directoryObject
	if err := a.directory(ctx, path, &o); err != nil {
		return principal{}, err
	}
	return o.principal(path), nil
}

// first is read for what may not be there.
func (a *administrator) first(ctx context.Context, text, path string) (principal, error) {
	p, err := a.read(ctx, path)
	if missing(err) {
		return p, fmt.Errorf("the directory has no principal %s", text)
	}
	return p, err
}

// directoryObject is an object as Microsoft Graph shows it.
type directoryObject struct {
	Type        string `json:"@odata.type"`
	ID          string `json:"id"`
	DisplayName string `json:"displayName"`
	UPN         string `json:"userPrincipalName"`
}

// principal returns the object as a principal. Objects of a collection do not say of what type they are; its path does.
func (o *directoryObject) principal(path string) principal {
	p := principal{ID: o.ID, Type: "ServicePrincipal", Name: o.DisplayName}
	switch {
	case strings.HasSuffix(o.Type, ".user") || strings.HasPrefix(path, "users"):
		p.Type, p.Name = "User", o.UPN
	case strings.HasSuffix(o.Type, ".group") || strings.HasPrefix(path, "groups"):
		p.Type = "Group"
	}
	return p
}

// named finds the one principal with a display name.
func (a *administrator) named(ctx context.Context, name string) (principal, error) {
	var found []principal
	for _, set := range []string{"servicePrincipals", "users", "groups"} {
		var page struct {
			Value []directoryObject `json:"value"`
		}
		filter := url.QueryEscape("displayName eq '" + strings.ReplaceAll(name, "'", "''") + "'")
		if err := a.directory(ctx, set+"?$filter="+filter, &page); err != nil {
			return principal{}, err
		}
		for _, o := range page.Value {
			found = append(found, o.principal(set))
		}
	}
	switch len(found) {
	case 0:
		return principal{}, fmt.Errorf("the directory has no principal %q", name)
	case 1:
		return found[0], nil
	}
	ids := make([]string, len(found))
	for i, p := range found {
		ids[i] = p.ID
	}
	return principal{}, fmt.Errorf("%d principals are called %q; name one by its object id: %s", len(found), name, strings.Join(ids, ", "))
}

// identityOf returns the object id of a user-assigned identity, or of a resource's system-assigned one.
func (a *administrator) identityOf(ctx context.Context, resource string) (string, error) {
	path := strings.TrimSuffix(resource, "/")
	if !strings.Contains(strings.ToLower(path), "/providers/microsoft.managedidentity/userassignedidentities/") {
		path += "/providers/Microsoft.ManagedIdentity/identities/default"
	}
	var identity identityResource
	if err := a.call(ctx, http.MethodGet, path+identityVersion, nil, &identity); err != nil {
		if missing(err) {
			return "", fmt.Errorf("%s is not a user-assigned identity, nor a resource with a system-assigned one", resource)
		}
		return "", err
	}
	return identity.Properties.PrincipalID, nil
}
