package keyvault_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

func publicKey(k *azkeys.JSONWebKey) *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(new(big.Int).SetBytes(k.E).Int64())}
}

// The official client, from the challenge to the purge.
func TestOfficialClient(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", `,"softDeleteRetentionInDays":7`)
		ctx := t.Context()
		c := s.keys("kv1", "officer")

		exp := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
		made, err := c.CreateKey(ctx, "Camera-1", azkeys.CreateKeyParameters{
			Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr(int32(3072)), Tags: map[string]*string{"a": to.Ptr("b")},
			KeyAttributes: &azkeys.KeyAttributes{Expires: &exp},
		}, nil)
		s.must(err)
		if got := publicKey(made.Key).N.BitLen(); got != 3072 {
			t.Errorf("key of %d bits, want 3072", got)
		}
		if got := string(*made.Key.KID); !strings.HasPrefix(got, s.url("kv1")+"/keys/Camera-1/") || len(made.Key.KID.Version()) != 32 {
			t.Errorf("kid %s", got)
		}
		a := made.Attributes
		if !*a.Enabled || !a.Expires.Equal(exp) || *a.RecoveryLevel != "CustomizedRecoverable+Purgeable" || *a.RecoverableDays != 7 {
			t.Errorf("attributes %+v", a)
		}
		if diff := cmp.Diff([]string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}, names(made.Key.KeyOps)); diff != "" {
			t.Error(diff)
		}

		v1 := made.Key.KID.Version()
		for _, version := range []string{"", v1} {
			got, err := c.GetKey(ctx, "camera-1", version, nil)
			s.must(err)
			if *got.Key.KID != *made.Key.KID || *got.Tags["a"] != "b" {
				t.Errorf("get %q: %s %v", version, *got.Key.KID, got.Tags)
			}
		}

		second, err := c.CreateKey(ctx, "Camera-1", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
		s.must(err)
		updated, err := c.UpdateKey(ctx, "Camera-1", v1, azkeys.UpdateKeyParameters{
			KeyOps:        []*azkeys.KeyOperation{to.Ptr(azkeys.KeyOperationWrapKey)},
			KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)},
		}, nil)
		s.must(err)
		if *updated.Attributes.Enabled || !updated.Attributes.Expires.Equal(exp) || *updated.Tags["a"] != "b" || len(updated.Key.KeyOps) != 1 {
			t.Errorf("update changed something else: %+v %v %v", updated.Attributes, updated.Tags, names(updated.Key.KeyOps))
		}
		current, err := c.GetKey(ctx, "Camera-1", "", nil)
		s.must(err)
		if *current.Key.KID != *second.Key.KID || !*current.Attributes.Enabled {
			t.Errorf("current version is %s", *current.Key.KID)
		}
		var versions []string
		for pager := c.NewListKeyPropertiesVersionsPager("Camera-1", nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			s.must(err)
			for _, item := range page.Value {
				versions = append(versions, item.KID.Version())
			}
		}
		if diff := cmp.Diff([]string{v1, second.Key.KID.Version()}, versions); diff != "" {
			t.Error(diff)
		}

		deleted, err := c.DeleteKey(ctx, "Camera-1", nil)
		s.must(err)
		if got := deleted.ScheduledPurgeDate.Sub(*deleted.DeletedDate); got != 7*24*time.Hour || *deleted.RecoveryID != s.url("kv1")+"/deletedkeys/Camera-1" {
			t.Errorf("deleted: %v, %s", got, *deleted.RecoveryID)
		}
		if _, err := c.GetKey(ctx, "Camera-1", "", nil); code(err) != "404 KeyNotFound" {
			t.Errorf("get of a deleted key: %v", err)
		}
		if _, err := c.CreateKey(ctx, "camera-1", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil); code(err) != "409 Conflict" ||
			!strings.Contains(err.Error(), "ObjectIsDeletedButRecoverable") {
			t.Errorf("create over a deleted key: %v", err)
		}
		if _, err := c.GetDeletedKey(ctx, "Camera-1", nil); err != nil {
			t.Error(err)
		}
		page, err := c.NewListDeletedKeyPropertiesPager(nil).NextPage(ctx)
		s.must(err)
		if len(page.Value) != 1 || page.Value[0].KID.Name() != "Camera-1" || page.Value[0].DeletedDate == nil {
			t.Errorf("deleted keys: %+v", page.Value)
		}
		recovered, err := c.RecoverDeletedKey(ctx, "Camera-1", nil)
		s.must(err)
		if *recovered.Key.KID != *second.Key.KID {
			t.Errorf("recovered %s", *recovered.Key.KID)
		}
		if _, err := c.RecoverDeletedKey(ctx, "Camera-1", nil); code(err) != "404 KeyNotFound" {
			t.Errorf("recover again: %v", err)
		}
		if _, err := c.PurgeDeletedKey(ctx, "Camera-1", nil); code(err) != "404 KeyNotFound" {
			t.Errorf("purge of a live key: %v", err)
		}
		_, err = c.DeleteKey(ctx, "Camera-1", nil)
		s.must(err)
		_, err = c.PurgeDeletedKey(ctx, "Camera-1", nil)
		s.must(err)
		if _, err := c.GetDeletedKey(ctx, "Camera-1", nil); code(err) != "404 KeyNotFound" {
			t.Errorf("get of a purged key: %v", err)
		}
		again, err := c.CreateKey(ctx, "camera-1", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
		s.must(err)
		if again.Key.KID.Name() != "camera-1" {
			t.Errorf("the purged key's name lives on: %s", *again.Key.KID)
		}
	})
}

func names(ops []*azkeys.KeyOperation) []string {
	var s []string
	for _, op := range ops {
		s = append(s, string(*op))
	}
	return s
}

func code(err error) string {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		return strings.TrimSpace(strings.Split(e.RawResponse.Status, " ")[0] + " " + e.ErrorCode)
	}
	return ""
}

// What the server protects, crypto/rsa reads, and the other way round.
func TestInterop(t *testing.T) {
	t.Parallel()
	s := newServer(t, storetest.SQLite(t, schemas...))
	s.vault("kv1", "")
	ctx := t.Context()
	c := s.keys("kv1", "officer")
	s.assign("officer", cryptoUserRole, vaultsPath+"kv1")
	made, err := c.CreateKey(ctx, "k", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
	s.must(err)
	pub := publicKey(made.Key)
	secret := []byte("thirty-two bytes of account key!")

	for alg, h := range map[azkeys.EncryptionAlgorithm]hash.Hash{
		azkeys.EncryptionAlgorithmRSAOAEP256: sha256.New(), azkeys.EncryptionAlgorithmRSAOAEP: sha1.New(), azkeys.EncryptionAlgorithmRSA15: nil,
	} {
		var local []byte
		if h == nil {
			//lint:ignore SA1019 the other side of RSA1_5
			local, err = rsa.EncryptPKCS1v15(rand.Reader, pub, secret)
		} else {
			local, err = rsa.EncryptOAEP(h, rand.Reader, pub, secret, nil)
		}
		s.must(err)
		opened, err := c.UnwrapKey(ctx, "k", "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: local}, nil)
		s.must(err)
		if string(opened.Result) != string(secret) || *opened.KID != *made.Key.KID {
			t.Errorf("%s: unwrapped %q under %s", alg, opened.Result, *opened.KID)
		}
		wrapped, err := c.WrapKey(ctx, "k", made.Key.KID.Version(), azkeys.KeyOperationParameters{Algorithm: &alg, Value: secret}, nil)
		s.must(err)
		back, err := c.Decrypt(ctx, "k", "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: wrapped.Result}, nil)
		s.must(err)
		if string(back.Result) != string(secret) {
			t.Errorf("%s: decrypted %q", alg, back.Result)
		}
		sealed, err := c.Encrypt(ctx, "k", "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: secret}, nil)
		s.must(err)
		// Tampered with, cut short, another algorithm: one text for all.
		for name, bad := range map[string][]byte{"flipped": flip(sealed.Result), "short": sealed.Result[1:], "empty padding": make([]byte, pub.Size())} {
			_, err = c.UnwrapKey(ctx, "k", "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: bad}, nil)
			if code(err) != "400 BadParameter" || !strings.Contains(err.Error(), "The parameter is incorrect.") {
				t.Errorf("%s %s: %v", alg, name, err)
			}
		}
	}

	digests := map[string][]byte{}
	for suffix, sum := range map[string]func() hash.Hash{"256": sha256.New, "384": sha512.New384, "512": sha512.New} {
		h := sum()
		h.Write([]byte("a license"))
		digests[suffix] = h.Sum(nil)
	}
	for _, alg := range []azkeys.SignatureAlgorithm{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		digest := digests[string(alg[2:])]
		h := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[string(alg[2:])]
		signed, err := c.Sign(ctx, "k", "", azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
		s.must(err)
		if alg[0] == 'P' {
			err = rsa.VerifyPSS(pub, h, digest, signed.Result, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			err = rsa.VerifyPKCS1v15(pub, h, digest, signed.Result)
		}
		if err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		for signature, want := range map[string]bool{string(signed.Result): true, string(flip(signed.Result)): false, "short": false} {
			v, err := c.Verify(ctx, "k", "", azkeys.VerifyParameters{Algorithm: &alg, Digest: digest, Signature: []byte(signature)}, nil)
			s.must(err)
			if *v.Value != want {
				t.Errorf("%s: verify says %v, want %v", alg, *v.Value, want)
			}
		}
		if _, err := c.Sign(ctx, "k", "", azkeys.SignParameters{Algorithm: &alg, Value: digest[1:]}, nil); code(err) != "400 BadParameter" {
			t.Errorf("%s of a short digest: %v", alg, err)
		}
	}
}

func flip(b []byte) []byte {
	c := append([]byte{}, b...)
	c[len(c)/2] ^= 1
	return c
}

func TestListKeysInPages(t *testing.T) {
	t.Parallel()
	storetest.Each(t, schemas, func(t *testing.T, db *store.DB) {
		s := newServer(t, db)
		s.vault("kv1", "")
		ctx := t.Context()
		want := []string{"a", "B", "c-1", "c-2", "d"}
		for _, name := range want {
			s.create("kv1", name, `{"kty":"RSA"}`)
		}
		s.vault("kv2", "")
		s.create("kv2", "other", `{"kty":"RSA"}`)

		var got []string
		for next := "/keys?api-version=7.4&maxresults=2"; next != ""; {
			a := s.do("kv1", "officer", "GET", next, "")
			items, _ := a.body["value"].([]any)
			if len(items) > 2 {
				t.Fatalf("page of %d", len(items))
			}
			for _, item := range items {
				m := item.(map[string]any)
				got = append(got, strings.TrimPrefix(m["kid"].(string), s.url("kv1")+"/keys/"))
				if m["key"] != nil {
					t.Error("a list shows public keys")
				}
			}
			link, ok := a.body["nextLink"]
			if !ok {
				t.Fatal("nextLink is missing; it has to be null")
			}
			text, _ := link.(string)
			next = strings.TrimPrefix(text, s.url("kv1"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		n := 0
		for pager := s.keys("kv1", "officer").NewListKeyPropertiesPager(nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			s.must(err)
			n += len(page.Value)
		}
		if n != len(want) {
			t.Errorf("the client lists %d keys, want %d", n, len(want))
		}
		for _, query := range []string{"maxresults=0", "maxresults=26", "maxresults=x", "$skiptoken=%25", "$skiptoken=Lw"} {
			s.expect(s.do("kv1", "officer", "GET", "/keys?api-version=7.4&"+query, ""), 400, "BadParameter", "")
		}
	})
}
