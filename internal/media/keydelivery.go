package media

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

func (s *Service) keyDeliveryRouter() azure.Router {
	const public = "the content key policy decides, by a token that its owner's application issues and not this server's authority"
	row := func(name, method string, handle func(http.ResponseWriter, *azure.Request) error) azure.Route {
		return azure.Route{Name: name, Method: method, Pattern: "/", Public: public, Handle: handle}
	}
	return azure.Router{
		Service: azure.KeyDelivery,
		Routes: []azure.Route{
			row("KeyDelivery.Get", http.MethodGet, s.deliverKey),
			row("KeyDelivery.Post", http.MethodPost, s.deliverKey),
			row("KeyDelivery.Preflight", http.MethodOptions, preflight),
		},
		Render: renderPlayback,
		NotFound: func(r *http.Request, allowed []string) *azure.Error {
			if len(allowed) > 0 {
				return azure.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method %s is not allowed here.", r.Method).
					WithHeader("Allow", strings.Join(allowed, ", "))
			}
			return azure.Errorf(http.StatusNotFound, "NotFound", "There is nothing at this address. Keys are at /?kid={key id}.")
		},
	}
}

// deliverKey answers with the 16 bytes of a content key.
func (s *Service) deliverKey(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	kid := strings.ToLower(r.URL.Query().Get("kid"))
	if !guid.MatchString(kid) {
		return azure.Errorf(http.StatusBadRequest, "BadRequest", "The query needs kid, the content key's GUID.")
	}
	host, _ := s.o.Hosts.Parse(r.Host)
	var a *account
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		res, err := s.o.Manager.Find(ctx, tx, accountType, host.Name)
		if err == nil {
			a, err = decodeAccount(res)
		}
		return err
	})
	if e, unexpected := azure.AsError(err); err != nil && !unexpected && e.Status == http.StatusNotFound {
		return azure.Errorf(http.StatusNotFound, "NotFound", "There is no media account '%s'.", host.Name)
	} else if err != nil {
		return err
	}
	k, err := s.authorizedKey(ctx, r, a, kid)
	rec := audit.Record{
		RequestID: azure.RequestID(ctx), Category: "Media", Operation: "KeyDelivery", Resource: a.key(),
		ClientIP: clientIP(r.Request).String(), Result: "Allowed", Details: map[string]string{"kid": kid},
	}
	if k != nil {
		rec.Resource = k.locator // so that each key's deliveries are counted apart
	}
	if err != nil {
		e, _ := azure.AsError(err)
		rec.Result, rec.Status, rec.Reason = "Denied", e.Status, e.Message
	}
	// Counted and not appended, refusals too: anyone may ask, and nobody may fill the log.
	if aerr := s.o.Audit.Observe(ctx, rec); aerr != nil {
		return aerr
	}
	if err != nil {
		return err
	}
	h := w.Header()
	allowOrigins(h)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", "16")
	h.Set("Cache-Control", "no-store")
	_, err = w.Write(k.value)
	return err
}

// authorizedKey checks everything that stands before a content key and returns it. With an error the key is that which
// was refused, still sealed; nil when it did not come to that.
func (s *Service) authorizedKey(ctx context.Context, r *azure.Request, a *account, kid string) (*contentKey, error) {
	if !a.KeyDelivery.AccessControl.allows(clientIP(r.Request)) {
		return nil, azure.Errorf(http.StatusForbidden, "Forbidden", "The address %s may not ask for keys: it is not in keyDelivery.accessControl.ipAllowList of the account.", clientIP(r.Request))
	}
	if err := a.admits(r.Request); err != nil {
		return nil, err
	}
	key, err := s.o.Keys.Key(ctx, a.key())
	if err != nil {
		return nil, inaccessible(a.Resource.ID, err)
	}
	var keys []contentKey
	var locator locatorProperties
	err = s.o.DB.View(ctx, func(tx *store.Tx) error {
		if keys, err = s.contentKeys(ctx, tx, a.key(), "kid", kid); err != nil || len(keys) == 0 {
			return err
		}
		id, err := azure.ParseResourceID(keys[0].locator)
		if err != nil {
			return err
		}
		res, err := s.o.Manager.Get(ctx, tx, id)
		if err != nil {
			return err
		}
		return decodeStored(res, &locator)
	})
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, azure.Errorf(http.StatusNotFound, "NotFound", "The content key '%s' was not found.", kid)
	}
	k := &keys[0]
	if !locator.holds(time.Now()) {
		return k, azure.Errorf(http.StatusForbidden, "Forbidden", "The content key '%s' is not delivered: its streaming locator is not valid at this time.", kid)
	}
	if err := s.mayHave(ctx, r, a, key, k); err != nil {
		return k, err
	}
	return k, s.openContentKey(key, a.key(), k)
}

// mayHave checks the request's token against the key's content key policy: one option that lets it pass is enough.
func (s *Service) mayHave(ctx context.Context, r *azure.Request, a *account, key seal.Key, k *contentKey) error {
	refused := func(why string) error {
		return azure.Errorf(http.StatusForbidden, "Forbidden", "The content key '%s' is not delivered: %s.", k.kid, why)
	}
	if checkChildName(k.policy) != nil {
		return refused("no content key policy lets anyone have it")
	}
	options, err := s.policyOptions(ctx, key, a.Resource.ID.Child("contentKeyPolicies", k.policy))
	if e, unexpected := azure.AsError(err); err != nil && !unexpected && e.Status == http.StatusNotFound {
		return refused("its content key policy does not exist any more")
	} else if err != nil {
		return err
	}
	raw := bearer(r.Request)
	why := "its content key policy has no options"
	for _, o := range options {
		err := o.Restriction.allows(raw, k.kid, time.Now())
		if err == nil {
			return nil
		}
		why = err.Error()
	}
	return refused(why)
}

// bearer returns the token of a request: of its Authorization header, or of token in its query.
func bearer(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	token := r.URL.Query().Get("token")
	return strings.TrimSpace(strings.TrimPrefix(token, "Bearer "))
}

// clientIP is the address that the request came from; zero for a request from within the process.
func clientIP(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}
