package media

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// TestSwitchOfAFailedWriteIsNotCommitted: a change of encryption that was prepared and then failed must not come into
// force with the next write of the account, which says nothing of encryption.
func TestSwitchOfAFailedWriteIsNotCommitted(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		id, err := azure.ParseResourceID(acct)
		if err != nil {
			t.Fatal(err)
		}
		var res *arm.Resource
		err = w.db.View(t.Context(), func(tx *store.Tx) (err error) {
			res, err = w.o.Manager.Get(t.Context(), tx, id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		next := *res
		write := &arm.Write{Old: res, New: &next, Patch: true, Body: []byte(`{"encryption":{"type":"CustomerKey","keyVaultProperties":{"keyIdentifier":"https://v.vault.keyreel.test/keys/k"}}}`)}
		a, err := decodeAccount(res)
		if err != nil {
			t.Fatal(err)
		}
		a.Encryption = encryption{Type: customerKey, KeyVaultProperties: &keyVaultProperties{KeyIdentifier: "https://v.vault.keyreel.test/keys/k"}}
		if err := encodeProperties(&next, a.accountProperties); err != nil {
			t.Fatal(err)
		}
		if err := w.prepareAccount(t.Context(), write); err != nil {
			t.Fatal(err)
		}
		if w.prepared.get(id.Key()).key == nil {
			t.Fatal("nothing was prepared")
		}
		// The commit never comes; the next write changes tags alone.
		w.do("PATCH", acct, syncV, `{"tags":{"a":"b"}}`).want(200).says(`"type":"SystemKey"`)
		state, err := w.o.Keys.State(t.Context(), id.Key())
		if err != nil || state.Customer {
			t.Errorf("the account key is wrapped by the customer's key, the account says SystemKey: %+v %v", state, err)
		}
	})
}

// TestEmptyObjectsChangeNothing: what a client leaves out of an object must not open or turn off anything.
func TestEmptyObjectsChangeNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.put(acct, syncV, fmt.Sprintf(accountDoc, customer+`,"publicNetworkAccess":"Disabled","keyDelivery":{"accessControl":{"defaultAction":"Deny","ipAllowList":["10.0.0.0/8"]}}`)).want(200)
		w.do("PATCH", acct, syncV, `{"properties":{"encryption":{}}}`).want(400).says("properties.encryption.type")
		w.do("PATCH", acct, syncV, `{"properties":{"encryption":{"keyVaultProperties":{"keyIdentifier":"https://v.vault.keyreel.test/keys/k"}}}}`).want(400).says("properties.encryption.type")
		for _, body := range []string{
			`{"keyDelivery":{}}`, `{"keyDelivery":{"accessControl":null}}`, `{"keyDelivery":null}`, `{"publicNetworkAccess":""}`,
			`{"storageAuthentication":""}`, `{"encryption":null}`, `{"storageAccounts":null}`, `{}`, `null`,
		} {
			w.do("PATCH", acct, syncV, `{"properties":`+body+`}`).want(200).says(
				`"type":"CustomerKey"`, `"defaultAction":"Deny"`, "10.0.0.0/8", `"publicNetworkAccess":"Disabled"`, `"storageAuthentication":"ManagedIdentity"`)
		}
		for _, body := range []string{
			`{"storageAccounts":[null]}`, `{"storageAccounts":[]}`, `{"storageAccounts":{}}`, `{"encryption":[]}`, `{"encryption":{"type":7}}`,
			`{"keyDelivery":{"accessControl":{"ipAllowList":[null]}}}`, `{"keyDelivery":{"accessControl":{"defaultAction":"Deny","ipAllowList":"10.0.0.1"}}}`, `[]`, `"x"`, `7`,
		} {
			w.do("PATCH", acct, syncV, `{"properties":`+body+`}`).want(400)
		}
	})
}

// TestLosingWriterOfEncryption: a write whose commit fails leaves the account on the key that it had.
func TestLosingWriterOfEncryption(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		w.child("/contentKeyPolicies/p", openPolicy).want(201)
		id, _ := azure.ParseResourceID(acct)
		first, err := w.o.Keys.Prepare(t.Context(), id.Key(), nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.o.Keys.Prepare(t.Context(), id.Key(), nil)
		if err != nil {
			t.Fatal(err)
		}
		commit := func(fail error) error {
			return w.db.Update(t.Context(), func(tx *store.Tx) error {
				return errors.Join(w.o.Keys.Commit(t.Context(), tx, first), fail)
			})
		}
		if err := commit(context.Canceled); err == nil {
			t.Error("committed")
		}
		if err := commit(nil); err != nil {
			t.Error(err)
		}
		err = w.db.Update(t.Context(), func(tx *store.Tx) error { return w.o.Keys.Commit(t.Context(), tx, second) })
		if e, _ := azure.AsError(err); err == nil || e.Status != 409 {
			t.Errorf("the second of two switches: %v", err)
		}
		w.post(acct + "/contentKeyPolicies/p/getPolicyPropertiesWithSecrets").want(200)
	})
}
