package authority

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const devicePage = "/common/oauth2/deviceauth"

// deviceStart asks for the code that a device shows. A link cannot bring it along: who is asked to type a code in has
// reason to wonder.
func (a *Authority) deviceStart(w http.ResponseWriter, r *azure.Request) error {
	return a.askUserCode(w, r, http.StatusOK, "")
}

func (a *Authority) askUserCode(w http.ResponseWriter, r *azure.Request, status int, problem string) error {
	return writePage(w, status, page{
		Kind: "code", Title: "Enter code", Problem: problem, Action: devicePage, Form: formToken(w, r, sessionSecret(r)),
		Text: "Enter the code displayed on your app or device. Do not enter codes from sources that you don’t trust.",
	})
}

// deviceForm serves the forms of the way from the code to the decision: the code, then name and password unless the user
// is signed in, then the question, in which the application is named.
func (a *Authority) deviceForm(w http.ResponseWriter, r *azure.Request) error {
	ctx := r.Context()
	form, err := readForm(r)
	if err != nil {
		return err
	}
	record := audit.Record{Operation: "SignIn.Device", ClientIP: clientIP(r.Request), Details: map[string]string{}}
	if err := checkForm(r, form); err != nil {
		return a.auditRefusal(ctx, record, err)
	}
	d, err := a.deviceOf(r, form.Get("otc"))
	if e, unexpected := azure.AsError(err); err != nil && !unexpected {
		azure.EventOf(ctx).ErrorCode = e.Code
		if err := a.auditRefusal(ctx, record, err); err != nil && !errors.Is(err, e) {
			return err
		}
		return a.askUserCode(w, r, e.Status, "This code is not right, was used already, or has expired. Ask your device for another one.")
	}
	if err != nil {
		return err
	}
	record.Details["clientId"] = d.ClientID
	reg, err := a.registration(ctx, d.ClientID)
	if err != nil {
		return err
	}
	s, err := a.session(r)
	if err != nil {
		return err
	}
	secret := sessionSecret(r)
	if form.Get("account") == "other" {
		s = nil
	}
	if form.Get("login") != "" {
		if s, err = a.signInByForm(w, r, form, d.ClientID); s != nil {
			secret = s.secret
		}
	}
	p := page{
		Kind: "signin", Title: "Sign in", App: plain(reg.Name), Action: devicePage, Name: form.Get("login"),
		Form: formToken(w, r, secret), Params: url.Values{"otc": {form.Get("otc")}},
	}
	status := http.StatusOK
	if p.Problem = signInProblem(err); p.Problem != "" {
		e, _ := azure.AsError(err)
		azure.EventOf(ctx).ErrorCode = e.Code
		if status = pageStatus(e); mustChange(err) {
			p.Kind, p.Title = "change", "Update your password"
		}
		err = nil
	}
	switch {
	case err != nil:
		return err
	case s == nil:
		return writePage(w, status, p)
	case form.Get("decision") == "approve" || form.Get("decision") == "accept":
		return a.approveDevice(w, r, form, d, s, record)
	case form.Get("decision") == "decline":
		return a.decideDevice(w, r, d, s, false, record)
	}
	p.Kind, p.Title, p.Account, p.Address = "confirm", "Sign in on another device?", s.user.Name, d.Address
	return writePage(w, status, p)
}

// deviceOf returns the device code that waits for a user code. Wrong ones lock their address out as wrong passwords do.
func (a *Authority) deviceOf(r *azure.Request, typed string) (d storedDevice, err error) {
	ctx, account, source := r.Context(), hashOf("device code"), network(clientIP(r.Request))
	var own tally
	err = a.o.DB.View(ctx, func(tx *store.Tx) (err error) {
		if own, err = readTally(ctx, tx, account, source); err != nil {
			return err
		}
		d, err = findDevice(ctx, tx, `user_code = $1`, hashOf(userCode(typed)))
		return err
	})
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return d, fmt.Errorf("reading a user code: %w", err)
	case time.Now().Before(own.lockedUntil):
		return d, errLocked(own.lockedUntil)
	case err == nil && d.state == devicePending && time.Now().Before(d.expires):
		return d, nil
	}
	err = a.o.DB.Update(ctx, func(tx *store.Tx) error {
		own, err := readTally(ctx, tx, account, source)
		if err != nil {
			return err
		}
		return own.add(ctx, tx, account, source, lockAfter, time.Now())
	})
	if err != nil {
		return d, fmt.Errorf("counting a wrong user code: %w", err)
	}
	return d, aadsts(http.StatusBadRequest, "bad_verification_code", 70018, "Invalid verification code due to User typing in wrong user code for device code flow.")
}

// approveDevice keeps the user's approval, and asks for consent before when there is none.
func (a *Authority) approveDevice(w http.ResponseWriter, r *azure.Request, form url.Values, d storedDevice, s *session, record audit.Record) error {
	ctx := r.Context()
	to, err := a.delegation(ctx, d.ClientID, s.user.ID, d.Wanted)
	if err != nil {
		return err
	}
	if len(to.missing) > 0 {
		err := errChanged
		if form.Get("decision") == "accept" {
			err = a.consent(ctx, r, form, s, to, to.scopes)
		}
		switch {
		case errors.Is(err, errChanged):
			p := page{Action: devicePage, Params: url.Values{"otc": {form.Get("otc")}}}
			if all, err := a.mayConsentForAll(ctx, s); err != nil {
				return err
			} else if all {
				p.Everyone = "may"
			}
			return writeConsent(w, r, p, s, to, to.scopes)
		case err != nil:
			return err
		}
	}
	return a.decideDevice(w, r, d, s, true, record)
}

// decideDevice keeps the user's decision. The record is written first: what is in the log and did not happen is told from
// its token, which then is not there.
func (a *Authority) decideDevice(w http.ResponseWriter, r *azure.Request, d storedDevice, s *session, approve bool, record audit.Record) error {
	ctx := r.Context()
	signedIn, err := json.Marshal(s.signIn)
	if err != nil {
		return err
	}
	state, done := deviceApproved, page{Kind: "message", Title: "You have signed in on your device", Text: "You may now close this window."}
	if !approve {
		state, done = deviceDeclined, page{Kind: "message", Title: "The device was refused", Text: "Nobody was signed in on it. You may now close this window."}
	}
	record.Category, record.RequestID = signInCategory, azure.RequestID(ctx)
	record.Principal, record.Result, record.Status, record.Details["decision"] = s.user.ID, "Success", http.StatusOK, state
	var decided bool
	err = a.o.Audit.Update(ctx, record, func(tx *store.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE authority_devices SET state = $1, signed_in = $2 WHERE hash = $3 AND state = $4 AND expires > $5`,
			state, string(signedIn), d.hash, devicePending, store.Micros(time.Now()))
		decided = n == 1
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping the decision on a device: %w", err)
	}
	if !decided { // decided or expired in this moment
		return a.askUserCode(w, r, http.StatusBadRequest, "This code was used already, or has expired. Ask your device for another one.")
	}
	azure.EventOf(ctx).Principal = s.user.ID
	return writePage(w, http.StatusOK, done)
}
