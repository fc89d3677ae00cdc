package media

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/encode"
	"github.com/keyreel/keyreel/internal/onbehalf"
	"github.com/keyreel/keyreel/internal/seal"
	"github.com/keyreel/keyreel/internal/store"
)

const inputHTTPType = "#Microsoft.Media.JobInputHttp"

// httpInput is what a JobInputHttp names. Its URLs may entitle whoever knows them, so they are in no resource's
// properties: they lie sealed in media_job_inputs.
type httpInput struct {
	BaseURI string   `json:"baseUri,omitempty"`
	Files   []string `json:"files"`
}

// maxBaseURI is the length of a base URI in Media Services.
const maxBaseURI = 4000

// location is the URL of the one file.
func (in *httpInput) location() (*url.URL, error) {
	const target = "properties.input.files"
	if len(in.Files) != 1 || in.Files[0] == "" {
		return nil, badRequest(target, "A JobInputHttp names one file, not %d.", len(in.Files))
	}
	if len(in.BaseURI) > maxBaseURI {
		return nil, badRequest("properties.input.baseUri", "The base URI is longer than %d characters.", maxBaseURI)
	}
	base := in.BaseURI
	if base != "" && !strings.HasSuffix(base, "/") {
		base += "/"
	}
	u, err := url.Parse(base + in.Files[0])
	// The message repeats nothing of the URL.
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, badRequest(target, "The base URI and the file do not make an https or http URL without user information and fragment.")
	}
	return u, nil
}

// shown is the URL without what is meant to entitle: its query.
func (in *httpInput) shown() *httpInput {
	cut := func(s string) string { s, _, _ = strings.Cut(s, "?"); return s }
	out := &httpInput{BaseURI: cut(in.BaseURI)}
	for _, f := range in.Files {
		out.Files = append(out.Files, cut(f))
	}
	return out
}

// takeHTTPInput moves the URLs of a new job's input out of its properties.
func (p *jobProperties) takeHTTPInput() (*httpInput, error) {
	in := &httpInput{BaseURI: p.Input.BaseURI, Files: p.Input.Files}
	if p.Input.AssetName != "" {
		return nil, badRequest("properties.input", "A JobInputHttp has no assetName.")
	}
	p.Input.BaseURI, p.Input.Files = "", []string{}
	_, err := in.location()
	return in, err
}

// sealHTTPInput seals the URLs under the account key.
func (s *Service) sealHTTPInput(ctx context.Context, job azure.ResourceID, in *httpInput) ([]byte, error) {
	key, err := s.o.Keys.Key(ctx, accountID(job).Key())
	if err != nil {
		return nil, inaccessible(job, err)
	}
	plain, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return s.seal(key, plain, "media_job_inputs", job.Key(), "sealed"), nil
}

func (s *Service) openHTTPInput(ctx context.Context, tx *store.Tx, key seal.Key, job azure.ResourceID) (*httpInput, error) {
	var sealed []byte
	err := tx.QueryRow(ctx, `SELECT sealed FROM media_job_inputs WHERE job = $1`, job.Key()).Scan(&sealed)
	if err != nil {
		return nil, fmt.Errorf("reading the input of %s: %w", job, err)
	}
	plain, err := s.unseal(key, sealed, "media_job_inputs", job.Key(), "sealed")
	if err != nil {
		return nil, err
	}
	in := new(httpInput)
	if err := json.Unmarshal(plain, in); err != nil {
		return nil, fmt.Errorf("reading the input of %s: %w", job, err)
	}
	return in, nil
}

// showJob shows the URLs of a JobInputHttp while the account key is at hand, as it is after the gate; nothing is asked
// of a vault within the transaction.
func (s *Service) showJob(ctx context.Context, tx *store.Tx, res *arm.Resource, _ arm.View) (any, error) {
	var p jobProperties
	if err := decodeStored(res, &p); err != nil || p.Input.Type != inputHTTPType {
		return p, err
	}
	key, ok := s.o.Keys.Held(accountID(res.ID).Key())
	if !ok {
		return p, nil
	}
	in, err := s.openHTTPInput(ctx, tx, key, res.ID)
	if isNoRows(err) { // before its first write is committed
		return p, nil
	} else if err != nil {
		return nil, err
	}
	in = in.shown()
	p.Input.BaseURI, p.Input.Files = in.BaseURI, in.Files
	return p, nil
}

// fetch brings the file of a JobInputHttp into the scratch folder.
func (e *encoding) fetch(ctx context.Context) error {
	s := e.service
	key, err := s.o.Keys.Key(ctx, e.account.key())
	if err != nil {
		return inaccessible(e.id, err)
	}
	var in *httpInput
	err = s.o.DB.View(ctx, func(tx *store.Tx) error {
		in, err = s.openHTTPInput(ctx, tx, key, e.id)
		return err
	})
	if err != nil {
		return err
	}
	u, err := in.location()
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("asking for the input of %s: its URL cannot be used", e.id)
	}
	resp, err := s.public.Do(r)
	if err != nil {
		return fetchProblem(u.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fetchRefused(u.Host, resp.StatusCode)
	}
	name := path.Base(u.Path)
	local := filepath.Join(e.dir, "input"+safeExt(name))
	f, err := os.OpenFile(local, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return scratchProblem(err)
	}
	defer f.Close()
	_, err = io.Copy(f, resp.Body)
	if scratch := (*fs.PathError)(nil); errors.As(err, &scratch) {
		return scratchProblem(err)
	} else if err != nil {
		return fetchProblem(u.Host, err)
	}
	if err := f.Close(); err != nil {
		return scratchProblem(err)
	}
	e.input, e.base = local, baseName(name)
	return nil
}

// fetchProblem says what an error of the HTTP client means. Its text names the host alone: the client's own repeats
// the URL.
func fetchProblem(host string, err error) error {
	if errors.Is(err, onbehalf.ErrPrivateAddress) {
		return &encode.JobError{
			Code: "DownloadNotAccessible", Category: "Download", Retry: "DoNotRetry",
			Message: fmt.Sprintf("The input was not fetched: '%s' has an address in a private network. Upload the file into an asset, or let the server fetch from private networks.", host),
		}
	}
	return &encode.JobError{
		Code: "DownloadTransientError", Category: "Download", Retry: "MayRetry",
		Message: fmt.Sprintf("The input could not be fetched from '%s': the connection failed.", host),
	}
}

func fetchRefused(host string, status int) error {
	e := &encode.JobError{
		Code: "DownloadNotAccessible", Category: "Download", Retry: "DoNotRetry",
		Message: fmt.Sprintf("The input could not be fetched: '%s' answered %d %s.", host, status, http.StatusText(status)),
	}
	if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		e.Code, e.Retry = "DownloadTransientError", "MayRetry"
	}
	return e
}
