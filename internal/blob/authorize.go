package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/rbac"
	"github.com/keyreel/keyreel/internal/store"
)

// storageAppID is the application id of Azure Storage, an audience that some clients ask for.
const storageAppID = "e406a681-f3d4-42a8-90b6-c2b029497af1"

// bearerSince is the first x-ms-version that knows bearer tokens.
const bearerSince = "2017-11-09"

// access is what authentication and authorization keep for the handlers.
type access struct {
	account *account
	key     string // the shared key that signed the request; empty with a bearer token
	addOnly bool   // may create blobs and not overwrite them
	// unrecorded is the decision that allowed a write, until it is in the audit chain.
	unrecorded *audit.Record
}

func accessOf(r *azure.Request) *access { return r.Extra.(*access) }

// authenticate finds the account and who calls.
func (s *Storage) authenticate(r *azure.Request) error {
	acct, err := s.account(r.Context(), r.Vars["account"])
	if err != nil {
		return err
	}
	acc := &access{account: acct}
	r.Extra = acc
	if err := acct.checkTransport(r.TLS); err != nil {
		return err
	}
	scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		return s.bearer(r, acct, strings.TrimSpace(credential))
	case "sharedkey":
		acc.key, err = acct.verifySharedKey(r.Request, credential)
		return err
	case "":
		return s.challenge(r, azure.Errorf(http.StatusUnauthorized, "NoAuthenticationInformation",
			"Server failed to authenticate the request. Please refer to the information in the www-authenticate header."))
	case "sharedkeylite":
		return notBuilt("authorization with SharedKeyLite")
	}
	return azure.Errorf(http.StatusBadRequest, "InvalidAuthenticationInfo",
		"Authentication information is not given in the correct format: the scheme '%s' is not Bearer or SharedKey.", scheme)
}

func (a *account) checkTransport(state *tls.ConnectionState) error {
	if state == nil {
		if a.settings.HTTPSOnly {
			return azure.Errorf(http.StatusBadRequest, "AccountRequiresHttps", "The account being accessed does not support http.")
		}
		return nil
	}
	if state.Version < a.settings.MinimumTLS {
		return azure.Errorf(http.StatusBadRequest, "TlsVersionNotPermitted",
			"The TLS version of the connection (%s) is not permitted on this storage account, whose minimumTlsVersion is %s.",
			tls.VersionName(state.Version), tls.VersionName(a.settings.MinimumTLS))
	}
	return nil
}

func (s *Storage) bearer(r *azure.Request, acct *account, token string) error {
	if r.TLS == nil {
		return azure.Errorf(http.StatusBadRequest, "AccountRequiresHttps", "A bearer token is accepted over https only.")
	}
	if v := r.Header.Get("X-Ms-Version"); v < bearerSince {
		return azure.Errorf(http.StatusForbidden, "AuthenticationFailed",
			"Server failed to authenticate the request. Authentication scheme Bearer is not supported in version '%s'; x-ms-version must be %s or later.", v, bearerSince)
	}
	caller, err := s.Verify(r.Context(), token, func(aud string) bool { return s.accepts(aud, acct.name) })
	var refused *azure.TokenError
	if errors.As(err, &refused) {
		return s.challenge(r, azure.Errorf(http.StatusUnauthorized, "InvalidAuthenticationInfo",
			"Server failed to authenticate the request. %s", tokenMessage(refused)).Because(err))
	}
	r.Caller = caller
	return err
}

func tokenMessage(e *azure.TokenError) string {
	switch e.Problem {
	case azure.TokenAudience:
		return "Audience validation failed. Audience did not match: " + e.Detail
	case azure.TokenIssuer:
		return "Issuer validation failed. Issuer did not match: " + e.Detail
	case azure.TokenExpired:
		return "Lifetime validation failed. The token is expired: " + e.Detail
	case azure.TokenNotYetValid:
		return "Lifetime validation failed. The token is not yet valid: " + e.Detail
	case azure.TokenSignature:
		return "Signature validation failed: " + e.Detail
	}
	return "The token was refused: " + e.Detail
}

func (s *Storage) accepts(audience, account string) bool {
	audience = strings.ToLower(strings.TrimSuffix(audience, "/"))
	switch audience {
	case "https://storage.azure.com", storageAppID,
		azure.URLs{Hosts: s.Hosts}.Blob(account), azure.URLs{Hosts: s.Hosts, Public: true}.Blob(account):
		return true
	}
	return false
}

// challenge adds the header that starts the clients' challenge flow. Its values are not quoted and stand apart by a
// space: that is how the clients parse it.
func (s *Storage) challenge(r *azure.Request, e *azure.Error) error {
	return e.WithHeader("WWW-Authenticate",
		"Bearer authorization_uri="+s.Hosts.For(r.Request).Login()+"/"+s.TenantID+"/oauth2/authorize resource_id=https://storage.azure.com")
}

// authorize asks the firewall, then the roles. A denial and an allowed read are written down here, an allowed write by
// update, together with its change.
func (s *Storage) authorize(r *azure.Request) error {
	acc := accessOf(r)
	r.Scope = acc.account.resource.String()
	if c := r.Vars["container"]; c != "" {
		r.Scope += "/blobServices/default/containers/" + c
	}
	if err := acc.account.settings.Network.admit(r.RemoteAddr, r.Caller); err != nil {
		return s.deny(r, err)
	}
	if r.Caller == nil {
		return s.allow(r, "signed with "+acc.key)
	}
	query := rbac.Query{
		Principals: r.Caller.Principals(), Action: r.Route.Action, Data: r.Route.Data, Scope: r.Scope, Attributes: conditionAttributes(r),
	}
	decision, err := s.RBAC.Decide(r.Context(), query)
	if err != nil {
		return err
	}
	if !decision.Allowed && r.Route.Name == "Blobs.Put" {
		query.Action = blobsAdd
		add, err := s.RBAC.Decide(r.Context(), query)
		if err != nil {
			return err
		}
		if add.Allowed {
			decision, acc.addOnly = add, true
		}
	}
	if !decision.Allowed {
		return s.deny(r, errPermission(decision.Reason()))
	}
	return s.allow(r, decision.Reason())
}

func errPermission(reason string) *azure.Error {
	return azure.Errorf(http.StatusForbidden, "AuthorizationPermissionMismatch",
		"This request is not authorized to perform this operation using this permission. %s", reason)
}

func (s *Storage) deny(r *azure.Request, e *azure.Error) error {
	rec := record(r)
	rec.Result, rec.Status, rec.Reason = "Denied", e.Status, e.Message
	if err := s.Audit.Append(r.Context(), rec); err != nil {
		return err
	}
	return e
}

func (s *Storage) allow(r *azure.Request, reason string) error {
	if err := s.unlock(r); err != nil {
		var refused *azure.Error
		if errors.As(err, &refused) {
			return s.deny(r, refused)
		}
		return err
	}
	rec := record(r)
	rec.Result, rec.Reason = "Allowed", reason
	if rec.Category == "StorageRead" {
		return s.Audit.Observe(r.Context(), rec)
	}
	accessOf(r).unrecorded = &rec
	return nil
}

// update makes a request's change and records the decision that allowed it. It is called once a request.
func (s *Storage) update(r *azure.Request, fn func(*store.Tx) error) error {
	acc := accessOf(r)
	if underKey(r) { // a long upload may have outlived the customer's consent
		if err := s.accessible(r.Context(), acc.account); err != nil {
			return err
		}
	}
	rec := *acc.unrecorded
	acc.unrecorded = nil
	return s.Audit.Update(r.Context(), rec, fn)
}

// recorded wraps the handler of a write: a request that fails before it comes to its update is recorded, too.
func (s *Storage) recorded(handle func(http.ResponseWriter, *azure.Request) error) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		err := handle(w, r)
		rec := accessOf(r).unrecorded
		if rec == nil {
			return err
		}
		if err == nil { // the connection is cut
			return fmt.Errorf("%s answered without recording its decision", r.Route.Name)
		}
		if unrecorded := s.Audit.Append(context.WithoutCancel(r.Context()), *rec); unrecorded != nil {
			return fmt.Errorf("%w (of a request that failed: %v)", unrecorded, err)
		}
		return err
	}
}

func record(r *azure.Request) audit.Record {
	rec := audit.Record{
		RequestID: azure.RequestID(r.Context()), Operation: r.Route.Name, Action: r.Route.Action,
		Resource: r.Scope, ClientIP: r.RemoteAddr, Category: "StorageWrite",
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		rec.ClientIP = host
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		rec.Category = "StorageRead"
	case http.MethodDelete:
		rec.Category = "StorageDelete"
	}
	if c := r.Caller; c != nil {
		rec.Principal, rec.Identity = c.ObjectID, c.ResourceID
	} else {
		rec.Details = map[string]string{"auth": "SharedKey", "key": accessOf(r).key}
	}
	if b := r.Vars["blob"]; b != "" && rec.Category != "StorageRead" {
		if rec.Details == nil {
			rec.Details = map[string]string{}
		}
		rec.Details["blob"] = b
	}
	return rec
}
