package authority

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

const (
	deviceLife       = 15 * time.Minute
	deviceKept       = time.Hour       // so that a late client learns why
	deviceInterval   = 5 * time.Second // between two questions of a client
	deviceImpatience = 3 * time.Second // how much earlier one may come
	devicesAtOnce    = 10_000          // codes that wait for their users
	devicesFrom      = 100             // of them, that one address asked for

	// userCodeLetters has no vowels, so that no words come about, and none that look alike.
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 9 // 20^9 is 5e11
)

// States of a device code.
const (
	devicePending  = "pending"
	deviceApproved = "approved"
	deviceDeclined = "declined"
	deviceRedeemed = "redeemed"
)

// device is what a device code stands for.
type device struct {
	ClientID string `json:"client"`
	Address  string `json:"address"` // that asked for it
	Wanted   wanted `json:"wanted"`
}

// storedDevice is a device code's row.
type storedDevice struct {
	device
	hash    []byte
	state   string
	signIn  signIn // once it is approved
	polled  time.Time
	expires time.Time
}

func newUserCode() string {
	var b [4 * userCodeLength]byte
	rand.Read(b[:])
	var code strings.Builder
	for _, c := range b {
		if int(c) < 256/len(userCodeLetters)*len(userCodeLetters) && code.Len() < userCodeLength {
			code.WriteByte(userCodeLetters[int(c)%len(userCodeLetters)])
		}
	}
	if code.Len() < userCodeLength { // 1 in some 10^25
		return newUserCode()
	}
	return code.String()
}

// userCode is a code as a person typed it, in the form in which it was given.
func userCode(typed string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, typed))
}

// deviceCode serves the device authorization endpoints (RFC 8628 section 3.1).
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
func (a *Authority) deviceCode(v2 bool) func(http.ResponseWriter, *azure.Request) error {
	return func(w http.ResponseWriter, r *azure.Request) error {
		tenant, err := a.tenant(r)
		if err != nil {
			return err
		}
		record := audit.Record{Operation: "SignIn.DeviceCode", ClientIP: clientIP(r.Request), Details: map[string]string{}}
		deviceCode, code, err := a.newDevice(r, v2, &record)
		if err != nil {
			return a.auditRefusal(r.Context(), record, err)
		}
		at := a.o.Hosts.For(r.Request).Login() + "/devicelogin"
		message := "To sign in, use a web browser to open the page " + at + " and enter the code " + code + " to authenticate."
		w.Header().Set("Cache-Control", "no-store")
		life, interval := int(deviceLife.Seconds()), int(deviceInterval.Seconds())
		if v2 || tenant == "adfs" {
			return azure.WriteJSON(w, http.StatusOK, map[string]any{
				"user_code": code, "device_code": deviceCode, "verification_uri": at, "expires_in": life, "interval": interval, "message": message,
			})
		}
		return azure.WriteJSON(w, http.StatusOK, map[string]any{
			"user_code": code, "device_code": deviceCode, "verification_url": at, "expires_in": strconv.Itoa(life), "interval": strconv.Itoa(interval), "message": message,
		})
	}
}

// newDevice stores a device code. That an application asks is not in the audit log: it is worth nothing before a user
// agrees.
func (a *Authority) newDevice(r *azure.Request, v2 bool, record *audit.Record) (deviceCode, code string, err error) {
	ctx := r.Context()
	form, err := readForm(r)
	if err != nil {
		return "", "", err
	}
	id := form.Get("client_id")
	if id == "" {
		return "", "", missing("client_id")
	}
	record.Details["clientId"] = shown(id)
	reg, err := a.registration(ctx, id)
	if err != nil {
		return "", "", err
	}
	d := device{ClientID: reg.AppID, Address: record.ClientIP}
	if d.Wanted, err = wantedOf(form, v2); err != nil {
		return "", "", err
	}
	if _, err := a.delegation(ctx, reg.AppID, "", d.Wanted); err != nil {
		return "", "", err
	}
	about, err := json.Marshal(d)
	if err != nil {
		return "", "", err
	}
	deviceCode, code = "1."+opaque(48), newUserCode()
	now, source := time.Now(), network(record.ClientIP)
	var all, own int
	err = a.o.DB.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM authority_devices WHERE expires < $1`, store.Micros(now.Add(-deviceKept))); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT count(*), coalesce(sum(CASE WHEN source = $1 THEN 1 ELSE 0 END), 0) FROM authority_devices WHERE expires > $2 AND state = $3`,
			source, store.Micros(now), devicePending).Scan(&all, &own)
		if err != nil || all >= devicesAtOnce || own >= devicesFrom {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO authority_devices (hash, user_code, source, about, state, signed_in, polled, expires) VALUES ($1, $2, $3, $4, $5, '', 0, $6)`,
			hashOf(deviceCode), hashOf(code), source, string(about), devicePending, store.Micros(now.Add(deviceLife)))
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("storing a device code: %w", err)
	}
	if all >= devicesAtOnce || own >= devicesFrom {
		return "", "", aadsts(http.StatusTooManyRequests, "temporarily_unavailable", 90055, "Too many device codes wait for their users. Please try again later.").WithHeader("Retry-After", "60")
	}
	return deviceCode, code, nil
}

const deviceColumns = `hash, about, state, signed_in, polled, expires`

func findDevice(ctx context.Context, tx *store.Tx, where string, hash []byte) (d storedDevice, err error) {
	var about, signedIn string
	var polled, expires int64
	err = tx.QueryRow(ctx, `SELECT `+deviceColumns+` FROM authority_devices WHERE `+where, hash).Scan(&d.hash, &about, &d.state, &signedIn, &polled, &expires)
	if err != nil {
		return d, err
	}
	d.polled, d.expires = store.Time(polled), store.Time(expires)
	if signedIn != "" {
		err = json.Unmarshal([]byte(signedIn), &d.signIn)
	}
	return d, errors.Join(err, json.Unmarshal([]byte(about), &d.device))
}

// redeemDevice is the grant in which a device asks whether its user has agreed (RFC 8628 section 3.4). It takes a client
// that is registered as public, or that proves itself.
func (a *Authority) redeemDevice(ctx context.Context, r *tokenRequest) (*tokenAnswer, error) {
	sent := r.form.Get("device_code")
	if sent == "" {
		sent = r.form.Get("code") // version 1
	}
	if sent == "" {
		return nil, missing("device_code")
	}
	reg, method, used, err := a.userClient(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case method == "0" && !reg.Public:
		return nil, errNoCredential()
	case r.browser:
		return nil, errCrossOrigin(false)
	}
	d, err := a.poll(ctx, r, reg.AppID, hashOf(sent))
	if err != nil {
		return nil, err
	}
	r.record.Principal, r.record.Details["audience"] = d.signIn.UserID, shown(d.Wanted.Resource)
	p, err := a.user(ctx, d.signIn)
	if err != nil {
		return nil, err
	}
	scopes, err := a.grantScopes(ctx, reg.AppID, p.ID, d.Wanted)
	if err != nil {
		return nil, err
	}
	if err := a.useOnce(ctx, used, d.Wanted.Resource+"\x00"+string(d.hash), r.record.ClientIP); err != nil {
		return nil, err
	}
	g := &userGrant{ID: azure.NewGUID(), ClientID: reg.AppID, Proved: method != "0", SignIn: d.signIn, Wanted: d.Wanted}
	var refreshToken string
	var first bool
	err = a.o.DB.Update(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE authority_devices SET state = $1 WHERE hash = $2 AND state = $3`, deviceRedeemed, d.hash, deviceApproved)
		first = n == 1
		if err != nil || !first {
			return err
		}
		refreshToken, err = a.begin(ctx, tx, g)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("redeeming a device code: %w", err)
	}
	if !first {
		return nil, errDeviceRedeemed()
	}
	out, err := a.issue(r, g, p, d.Wanted, scopes, method, "")
	if err != nil {
		return nil, err
	}
	out.refresh = refreshToken
	return out, nil
}

// poll returns a device code that its user has approved.
func (a *Authority) poll(ctx context.Context, r *tokenRequest, clientID string, hash []byte) (d storedDevice, err error) {
	now := time.Now()
	err = a.o.DB.Update(ctx, func(tx *store.Tx) (err error) {
		if d, err = findDevice(ctx, tx, `hash = $1`, hash); err != nil || d.state != devicePending {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE authority_devices SET polled = $1 WHERE hash = $2`, store.Micros(now), hash)
		return err
	})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return d, fmt.Errorf("reading a device code: %w", err)
	}
	expired := "expired_token"
	if !r.v2 {
		expired = "code_expired"
	}
	switch {
	case err != nil || !strings.EqualFold(d.ClientID, clientID):
		return d, aadsts(http.StatusBadRequest, "bad_verification_code", 70020, "The provided value for the input parameter 'device_code' is not valid.")
	case d.state == deviceRedeemed:
		return d, errDeviceRedeemed()
	case d.state == deviceDeclined:
		return d, aadsts(http.StatusBadRequest, "authorization_declined", 70017, "The user declined the request of the device.")
	case now.After(d.expires):
		return d, aadsts(http.StatusBadRequest, expired, 70019, "Verification code expired. The user has to sign in within %v.", deviceLife)
	case d.state == devicePending && now.Before(d.polled.Add(deviceInterval-deviceImpatience)):
		return d, aadsts(http.StatusBadRequest, "slow_down", 70016, "The client asks too often: every %v is enough.", deviceInterval)
	case d.state == devicePending:
		return d, aadsts(http.StatusBadRequest, "authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	}
	return d, nil
}

func errDeviceRedeemed() error {
	return aadsts(http.StatusBadRequest, "code_already_used", 54005, "The device code was already redeemed, please ask for a new one or use an existing refresh token.")
}
