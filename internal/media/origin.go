package media

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/stream"
	"github.com/keyreel/keyreel/internal/store"
)

func (s *Service) streamingRouter() azure.Router {
	const public = "a locator's GUID is what entitles to clear streams and downloads; encrypted ones need a key, for which key delivery asks a token"
	row := func(name, method string, handle func(http.ResponseWriter, *azure.Request) error) azure.Route {
		// Without a time limit: a client reads a segment as fast as it can, and the segment ends.
		return azure.Route{Name: name, Method: method, Pattern: "/{locator}/{path...}", Public: public, Timeout: -1, Handle: handle}
	}
	return azure.Router{
		Service: azure.Streaming,
		Routes: []azure.Route{
			row("Streaming.Get", http.MethodGet, s.serveStream),
			row("Streaming.Head", http.MethodHead, s.serveStream),
			row("Streaming.Preflight", http.MethodOptions, preflight),
		},
		Render: renderPlayback,
		NotFound: func(r *http.Request, allowed []string) *azure.Error {
			if len(allowed) > 0 {
				return azure.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method %s is not allowed here.", r.Method).
					WithHeader("Allow", strings.Join(allowed, ", "))
			}
			return errNotFound()
		},
	}
}

func errNotFound() *azure.Error {
	return azure.Errorf(http.StatusNotFound, "MPE_RESOURCE_NOT_FOUND", "There is nothing at this address. Streams are at /{locatorId}/{name}.ism/manifest(format=...).")
}

// renderPlayback renders errors for players in web pages, which see them only with these headers. Viewers are anyone:
// the identities, vaults and storage accounts behind an account are for its owner's eyes.
func renderPlayback(w http.ResponseWriter, r *http.Request, e *azure.Error) {
	allowOrigins(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	shown := *e
	switch {
	case e.Code == "CustomerKeyInaccessible":
		shown.Message = "The media account cannot use the customer key that protects it. Its owner finds the reason in properties.encryption.status of the account."
		shown.Details, shown.Target = nil, ""
	case e.Code == "MPE_STORAGE_RESOURCE_NOT_FOUND":
		shown.Message = "The asset has no such file, or its container is gone."
	case strings.HasPrefix(e.Code, "MPE_STORAGE_"):
		shown.Message = "The media account cannot read its storage. Its owner finds the reason in properties.storageAccounts of the account."
	}
	azure.RenderARM(w, r, &shown)
}

func allowOrigins(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Content-Length, Content-Range, Date, x-ms-request-id")
}

func preflight(w http.ResponseWriter, r *azure.Request) error {
	allowOrigins(w.Header())
	w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Range, Content-Type, x-ms-client-request-id")
	w.Header().Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// playback is what a locator leads to.
type playback struct {
	account *account
	locator locatorProperties
	id      azure.ResourceID // of the locator
	policy  streamingPolicyProperties
	asset   assetProperties
	target  storageTarget
}

// playback loads what a locator leads to.
func (s *Service) playback(ctx context.Context, locator *arm.Resource) (*playback, error) {
	p := &playback{id: locator.ID}
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		res, err := s.o.Manager.Get(ctx, tx, accountID(locator.ID))
		if err != nil {
			return err
		}
		if p.account, err = decodeAccount(res); err != nil {
			return err
		}
		return s.loadPlayback(ctx, tx, locator, p)
	})
	if err != nil {
		return nil, err
	}
	p.target, err = s.storageTarget(p.account, p.asset.StorageAccountName)
	return p, err
}

func (s *Service) loadPlayback(ctx context.Context, tx *store.Tx, locator *arm.Resource, p *playback) error {
	if err := decodeStored(locator, &p.locator); err != nil {
		return err
	}
	policy, err := s.child(ctx, tx, locator.ID, "streamingPolicies", p.locator.StreamingPolicyName, "")
	if err != nil {
		return err
	}
	if err := decodeStored(policy, &p.policy); err != nil {
		return err
	}
	asset, err := s.asset(ctx, tx, locator.ID, p.locator.AssetName, "")
	if err != nil {
		return err
	}
	p.asset = *asset
	return nil
}

// open finds what a streaming request's host and locator lead to, and checks all that is to be checked on every
// request but storage: the endpoint runs, the account may use its key, the locator holds now.
func (s *Service) open(r *http.Request, locatorID string, now time.Time) (*playback, error) {
	ctx := r.Context()
	target, _ := s.o.Hosts.Parse(r.Host)
	i := strings.LastIndexByte(target.Name, '-')
	if target.Service != azure.Streaming || i < 0 || !guid.MatchString(strings.ToLower(locatorID)) {
		return nil, errNotFound()
	}
	endpoint, name := target.Name[:i], target.Name[i+1:]
	var e endpointProperties
	p := &playback{}
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		acct, err := s.o.Manager.Find(ctx, tx, accountType, name)
		if err != nil {
			return err
		}
		if p.account, err = decodeAccount(acct); err != nil {
			return err
		}
		res, err := s.o.Manager.Get(ctx, tx, acct.ID.Child("streamingEndpoints", endpoint))
		if err != nil {
			return err
		}
		if err := decodeStored(res, &e); err != nil {
			return err
		}
		locator, err := s.locatorByID(ctx, tx, acct.ID, locatorID)
		if err != nil {
			return err
		}
		p.id = locator.ID
		return s.loadPlayback(ctx, tx, locator, p)
	})
	if seen, unexpected := azure.AsError(err); err != nil && !unexpected && seen.Status < 500 {
		return nil, errNotFound().Because(err) // players are told no more than that
	} else if err != nil {
		return nil, err
	}
	if e.ResourceState != endpointRunning {
		return nil, azure.Errorf(http.StatusForbidden, "MPE_STREAMING_ENDPOINT_NOT_RUNNING", "The streaming endpoint '%s' is stopped. Start it.", endpoint)
	}
	if err := p.account.admits(r); err != nil {
		return nil, err
	}
	if !p.locator.holds(now) {
		return nil, azure.Errorf(http.StatusForbidden, "MPE_LOCATOR_NOT_VALID_NOW", "The streaming locator is not valid at this time.")
	}
	p.target, err = s.storageTarget(p.account, p.asset.StorageAccountName)
	return p, err
}

func (s *Service) locatorByID(ctx context.Context, tx *store.Tx, acct azure.ResourceID, locatorID string) (*arm.Resource, error) {
	var id string
	err := tx.QueryRow(ctx, `SELECT locator FROM media_locators WHERE account = $1 AND locator_id = $2`, acct.Key(), strings.ToLower(locatorID)).Scan(&id)
	if isNoRows(err) {
		return nil, errNotFound()
	} else if err != nil {
		return nil, err
	}
	parsed, err := azure.ParseResourceID(id)
	if err != nil {
		return nil, err
	}
	return s.o.Manager.Get(ctx, tx, parsed)
}

func (s *Service) serveStream(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	p, err := s.open(r.Request, r.Vars["locator"], time.Now())
	if err != nil {
		return err
	}
	key, err := s.o.Keys.Key(ctx, p.account.key())
	if err != nil {
		return inaccessible(p.account.Resource.ID, err)
	}
	name := r.Vars["path"]
	if e := p.policy.NoEncryption; e != nil && e.EnabledProtocols.Download && !strings.Contains(strings.ToLower(name), ".ism/") {
		return s.serveFile(w, r, p, name)
	}
	req, err := stream.ParseRequest(name)
	if err != nil {
		return err
	}
	if err := p.allows(req); err != nil {
		return err
	}
	opts := stream.Options{Query: url.Values{}}
	if token := r.URL.Query().Get("token"); token != "" {
		opts.Query.Set("token", token)
	}
	if req.Encrypted {
		k, err := s.envelopeKey(ctx, p)
		if err != nil {
			return err
		}
		if err := s.openContentKey(key, p.account.key(), k); err != nil {
			return err
		}
		delivery := s.o.Hosts.For(r.Request).KeyDelivery(p.account.Resource.ID.Name())
		opts.Key = &stream.Key{ID: k.kid, URI: delivery + "/?kid=" + k.kid, Secret: k.value}
	}
	resp, source, err := s.respond(ctx, p, req, opts)
	if err != nil {
		return err
	}
	h := w.Header()
	allowOrigins(h)
	h.Set("Content-Type", resp.ContentType)
	h.Set("Content-Length", strconv.FormatInt(resp.Size, 10))
	h.Set("Cache-Control", cacheControl)
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	// The first bytes begin the answer: access that ends before them is refused, and only later it cuts.
	if err := resp.Write(ctx, w, source); err != nil {
		h.Del("Content-Length")
		h.Set("Cache-Control", "no-store")
		return inaccessible(p.account.Resource.ID, storageDenied(err))
	}
	return nil
}

// cacheControl lets caches keep an answer as long as this server itself would after access was withdrawn.
const cacheControl = "public, max-age=5"

// allows checks a request against the locator's streaming policy.
func (p *playback) allows(req stream.Request) error {
	var enabled enabledProtocols
	switch {
	case req.Encrypted && p.policy.EnvelopeEncryption != nil:
		enabled = p.policy.EnvelopeEncryption.EnabledProtocols
	case !req.Encrypted && p.policy.NoEncryption != nil:
		enabled = p.policy.NoEncryption.EnabledProtocols
	case !req.Encrypted && p.policy.EnvelopeEncryption != nil:
		return azure.Errorf(http.StatusForbidden, "MPE_ENC_REQUIRED", "The streaming policy '%s' requires encryption. Ask for encryption=cbc, as in the locator's paths.", p.locator.StreamingPolicyName)
	default:
		return azure.Errorf(http.StatusForbidden, "MPE_ENC_NOT_ALLOWED", "The streaming policy '%s' does not have the encryption that was asked for.", p.locator.StreamingPolicyName)
	}
	ok := enabled.Dash
	if req.Format == stream.HLSCMAF {
		ok = enabled.HLS
	}
	if !ok {
		return azure.Errorf(http.StatusForbidden, "MPE_PROTOCOL_NOT_ALLOWED", "The streaming policy '%s' does not enable the format '%s'.", p.locator.StreamingPolicyName, req.Format)
	}
	return nil
}

// envelopeKey returns the locator's content key, still sealed.
func (s *Service) envelopeKey(ctx context.Context, p *playback) (*contentKey, error) {
	var keys []contentKey
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		var err error
		keys, err = s.contentKeys(ctx, tx, p.account.key(), "locator", p.id.Key())
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if keys[i].typ == envelopeEncryptionKey {
			return &keys[i], nil
		}
	}
	return nil, azure.Errorf(http.StatusForbidden, "MPE_ENC_NOT_ALLOWED", "The streaming locator has no content key.")
}

// respond prepares an answer from the presentation as storage has it now. A file that was replaced since the
// presentation was read makes it read anew, once.
func (s *Service) respond(ctx context.Context, p *playback, req stream.Request, opts stream.Options) (*stream.Response, io.ReaderAt, error) {
	manifest := file{p.target, p.asset.Container, req.Manifest}
	for again := false; ; again = true {
		v, err := s.access.current(ctx, manifest)
		if err != nil {
			return nil, nil, storageDenied(err)
		}
		pres, err := s.presentation(ctx, manifest, v)
		if err != nil {
			return nil, nil, storageDenied(err)
		}
		resp, err := pres.Respond(req, opts)
		if err != nil || resp.Source == "" {
			return resp, nil, err
		}
		source := file{p.target, p.asset.Container, resp.Source}
		now, err := s.access.current(ctx, source)
		if err != nil {
			return nil, nil, storageDenied(err)
		}
		if now == pres.sources[resp.Source] {
			return resp, blobReader{ctx, s, source, now}, nil
		}
		s.presentations.drop(manifest)
		if again {
			return nil, nil, azure.Errorf(http.StatusServiceUnavailable, "MPE_CONTENT_CHANGING", "The file '%s' is being replaced. Try again.", resp.Source).WithHeader("Retry-After", "1")
		}
	}
}

// serveFile serves a file of the asset as it is, for policies that enable download.
func (s *Service) serveFile(w http.ResponseWriter, r *azure.Request, p *playback, name string) error {
	if name == "" || path.Clean("/"+name) != "/"+name {
		return errNotFound()
	}
	f := file{p.target, p.asset.Container, name}
	v, err := s.access.current(r.Context(), f)
	var problem *storageProblem
	if errors.As(err, &problem) && (problem.missing || problem.refusedOther) { // a name that no blob can have
		return errNotFound()
	} else if err != nil {
		return storageDenied(err)
	}
	h := w.Header()
	allowOrigins(h)
	h.Set("Cache-Control", cacheControl)
	h.Set("ETag", string(v.etag))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", contentType(name))
	http.ServeContent(w, r.Request, "", time.Time{}, io.NewSectionReader(blobReader{r.Context(), s, f, v}, 0, v.size))
	return nil
}

// contentType is fixed by extension: an asset's file must not become a page of this host.
func contentType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".mp4", ".m4v":
		return "video/mp4"
	case ".m4a":
		return "audio/mp4"
	case ".vtt":
		return "text/vtt"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".png":
		return "image/png"
	}
	return "application/octet-stream"
}
