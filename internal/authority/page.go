package authority

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyreel/keyreel/internal/azure"
)

//go:embed pages
var pageFS embed.FS

var (
	pageTemplate = template.Must(template.ParseFS(pageFS, "pages/page.html"))
	pageStyle    = mustRead("pages/page.css")
)

// submitScript sends the form of a form_post answer on. Without scripts the page has a button for it.
const submitScript = "document.forms[0].submit()"

func mustRead(name string) string {
	text, err := pageFS.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}

// page is what the one template shows. Kind chooses among its bodies.
type page struct {
	Kind    string // "signin", "change", "post", "code", "confirm", "consent" or "message"
	Title   string
	Text    string // what is the matter
	Problem string // what was wrong with the last try
	Action  string // where the form goes
	Form    string // the form's token
	App     string // name of the application that wants to know
	Name    string // sign-in name, filled in
	Account string // name of the user who is signed in
	Address string // from which a device asks
	Params  url.Values

	// Of a question for consent:
	ClientID    string
	Host        string // to which the answer goes; empty for a device
	Permissions []permission
	Everyone    string // "may": the user may consent for all; "must": for all or not at all

	targets []string // other places to which the form may lead
	script  bool
}

// Style and Script are trusted: they are constants, and the policy holds their hashes.
func (page) Style() template.CSS { return template.CSS(pageStyle) }

// Script is the script of the page, or nothing.
func (p page) Script() template.JS {
	if !p.script {
		return ""
	}
	return submitScript
}

func sourceHash(text string) string {
	hash := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}

// policy lets a page do nothing but what it is for: no script but the one, nothing from anywhere, in nobody's frame.
func (p *page) policy() string {
	actions := []string{"'self'"}
	for _, to := range p.targets {
		if target := formTarget(to); target != "" {
			actions = append(actions, target)
		}
	}
	policy := "default-src 'none'; style-src " + sourceHash(pageStyle) + "; form-action " + strings.Join(actions, " ") + "; frame-ancestors 'none'; base-uri 'none'"
	if p.script {
		policy += "; script-src " + sourceHash(submitScript)
	}
	return policy
}

func writePage(w http.ResponseWriter, status int, p page) error {
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Security-Policy", p.policy())
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(out.Bytes()) // a client that hung up is not an error of ours
	return nil
}

// pages makes the errors of a handler pages, because people read them.
func (a *Authority) pages(handle func(http.ResponseWriter, *azure.Request) error) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		err := handle(w, r)
		if err == nil || errors.Is(err, http.ErrAbortHandler) {
			return err
		}
		ev := azure.EventOf(r.Context())
		e, unexpected := azure.AsError(azure.Ended(r.Context(), err))
		ev.ErrorCode = e.Code
		if unexpected {
			ev.Err = err
		}
		text := e.Message + " Request id: " + azure.RequestID(r.Context())
		return writePage(w, e.Status, page{Kind: "message", Title: "Sorry, but we’re having trouble signing you in", Text: text})
	}
}
