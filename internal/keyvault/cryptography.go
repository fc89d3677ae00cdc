package keyvault

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/store"
)

// algorithm is an algorithm of RFC 7518 for RSA keys, as requests name it.
type algorithm struct {
	name string
	hash crypto.Hash // 0 for RSA1_5, which has none
	pss  bool
}

var (
	encryptions = []algorithm{{name: "RSA-OAEP-256", hash: crypto.SHA256}, {name: "RSA-OAEP", hash: crypto.SHA1}, {name: "RSA1_5"}}
	signatures  = []algorithm{
		{name: "RS256", hash: crypto.SHA256},
		{name: "RS384", hash: crypto.SHA384},
		{name: "RS512", hash: crypto.SHA512},
		{name: "PS256", hash: crypto.SHA256, pss: true},
		{name: "PS384", hash: crypto.SHA384, pss: true},
		{name: "PS512", hash: crypto.SHA512, pss: true},
	}
)

// useRequest is the body of the operations that use a key.
type useRequest struct {
	Alg    string `json:"alg"`
	Value  string `json:"value"`
	Digest string `json:"digest"` // of verify
}

// use returns the operation that applies op to a key.
func (v *Vaults) use(op string) func(c *call) (*result, error) {
	return func(c *call) (*result, error) {
		version, err := c.version()
		if err != nil {
			return nil, err
		}
		var body useRequest
		if err := c.DecodeJSON("BadParameter", &body); err != nil {
			return nil, err
		}
		alg, err := findAlgorithm(op, body.Alg)
		if err != nil {
			return nil, err
		}
		c.details["alg"] = alg.name
		value, err := decode("value", body.Value)
		if err != nil {
			return nil, err
		}
		k, private, err := v.loadForUse(c, version, op)
		if err != nil {
			return nil, err
		}
		c.details["id"] = c.kid(k)
		answer := struct {
			KID   string `json:"kid,omitempty"`
			Value any    `json:"value"`
		}{KID: c.kid(k)}
		var out []byte
		switch op {
		case opEncrypt, opWrapKey:
			out, err = alg.encrypt(&k.public, value)
		case opDecrypt, opUnwrapKey:
			out, err = alg.decrypt(private, value)
		case opSign:
			out, err = alg.sign(private, value)
		case opVerify:
			digest, err := decode("digest", body.Digest)
			if err != nil {
				return nil, err
			}
			answer.KID = ""
			if answer.Value, err = alg.verify(&k.public, digest, value); err != nil {
				return nil, err
			}
			return &result{http.StatusOK, answer}, nil
		}
		if err != nil {
			return nil, err
		}
		answer.Value = base64.RawURLEncoding.EncodeToString(out)
		return &result{http.StatusOK, answer}, nil
	}
}

// loadForUse returns a key that op may be done with now, and its private half when op needs it.
func (v *Vaults) loadForUse(c *call, version, op string) (*key, *rsa.PrivateKey, error) {
	drops := v.privates.dropped()
	k, err := v.key(c.Context(), c.vault.ID, c.Vars["name"], version)
	if err != nil {
		return nil, nil, err
	}
	if err := k.allow(op, time.Now()); err != nil || !slices.Contains([]string{opDecrypt, opUnwrapKey, opSign}, op) {
		return k, nil, err
	}
	id := k.id()
	private := v.privates.get(id)
	if private != nil {
		return k, private, nil
	}
	var sealed []byte
	err = v.DB.View(c.Context(), func(tx *store.Tx) error {
		err := tx.QueryRow(c.Context(), `SELECT private FROM keyvault_versions WHERE vault = $1 AND name = $2 AND serial = $3`,
			id.vault, id.name, k.serial).Scan(&sealed)
		if errors.Is(err, sql.ErrNoRows) { // purged since
			return keyNotFound(k.name, version)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	der, err := v.Keyring.Open(sealed, privateAAD(id)...)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the private key of %s version %s: %w", k.name, k.version, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	clear(der)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the private key of %s version %s: %w", k.name, k.version, err)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok || !private.PublicKey.Equal(&k.public) {
		return nil, nil, fmt.Errorf("the private key of %s version %s is not that of its public key", k.name, k.version)
	}
	v.privates.put(id, private, drops)
	return k, private, nil
}

// allow decides whether op may be done with the key now. Data that was protected with a key stays readable outside its
// time window; new data is not protected with it.
func (k *key) allow(op string, now time.Time) error {
	switch protects := slices.Contains([]string{opEncrypt, opWrapKey, opSign}, op); {
	case !k.enabled:
		return forbidden("KeyDisabled", "Operation %s is not allowed on a disabled key.", op)
	case protects && !k.nbf.IsZero() && now.Before(k.nbf):
		return forbidden("KeyNotYetValid", "Operation %s is not allowed on a key that is not yet valid. It is valid from %s.", op, k.nbf.UTC().Format(time.RFC3339))
	case protects && !k.exp.IsZero() && !now.Before(k.exp):
		return forbidden("KeyExpired", "Operation %s is not allowed on an expired key. It expired on %s.", op, k.exp.UTC().Format(time.RFC3339))
	case !slices.Contains(k.ops, op):
		return forbidden("KeyOperationForbidden", "Operation %s is not permitted on this key.", op)
	}
	return nil
}

func findAlgorithm(op, name string) (algorithm, error) {
	set := encryptions
	if op == opSign || op == opVerify {
		set = signatures
	}
	var names []string
	for _, a := range set {
		if strings.EqualFold(a.name, name) {
			return a, nil
		}
		names = append(names, a.name)
	}
	return algorithm{}, badParameter("Property alg has invalid value '%s'. With an RSA key, %s takes %s.", name, op, strings.Join(names, ", "))
}

// decode reads base64url as clients write it: without padding, which is tolerated.
func decode(property, s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil, badParameter("Property %s has invalid value: it is not base64url.", property)
	}
	if len(b) == 0 {
		return nil, badParameter("Property %s has invalid value: it is missing or empty.", property)
	}
	return b, nil
}

func (a algorithm) encrypt(k *rsa.PublicKey, plaintext []byte) ([]byte, error) {
	var out []byte
	var err error
	limit := k.Size() - 11
	if a.hash == 0 {
		//lint:ignore SA1019 RSA1_5 is an algorithm of the protocol; clients choose it
		out, err = rsa.EncryptPKCS1v15(rand.Reader, k, plaintext)
	} else {
		limit = k.Size() - 2*a.hash.Size() - 2
		out, err = rsa.EncryptOAEP(a.hash.New(), rand.Reader, k, plaintext, nil)
	}
	if errors.Is(err, rsa.ErrMessageTooLong) {
		return nil, badParameter("Property value has %d bytes. %s with a key of %d bits takes at most %d.", len(plaintext), a.name, k.N.BitLen(), limit)
	}
	return out, err
}

// decrypt says of every ciphertext that does not decrypt the same: which check failed would tell an attacker about the
// plaintext.
func (a algorithm) decrypt(k *rsa.PrivateKey, ciphertext []byte) (out []byte, err error) {
	if a.hash == 0 {
		//lint:ignore SA1019 RSA1_5 is an algorithm of the protocol; only who may decrypt gets this far
		out, err = rsa.DecryptPKCS1v15(nil, k, ciphertext)
	} else {
		out, err = rsa.DecryptOAEP(a.hash.New(), nil, k, ciphertext, nil)
	}
	if err != nil {
		return nil, badParameter("The parameter is incorrect.\r\n")
	}
	return out, nil
}

func (a algorithm) checkDigest(property string, digest []byte) error {
	if len(digest) != a.hash.Size() {
		return badParameter("Property %s has %d bytes. %s takes a digest of %d bytes.", property, len(digest), a.name, a.hash.Size())
	}
	return nil
}

func (a algorithm) sign(k *rsa.PrivateKey, digest []byte) ([]byte, error) {
	if err := a.checkDigest("value", digest); err != nil {
		return nil, err
	}
	if a.pss {
		return rsa.SignPSS(rand.Reader, k, a.hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	return rsa.SignPKCS1v15(nil, k, a.hash, digest)
}

func (a algorithm) verify(k *rsa.PublicKey, digest, signature []byte) (bool, error) {
	if err := a.checkDigest("digest", digest); err != nil {
		return false, err
	}
	if a.pss {
		return rsa.VerifyPSS(k, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil, nil
	}
	return rsa.VerifyPKCS1v15(k, a.hash, digest, signature) == nil, nil
}
