package media

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
)

func (w *world) heldKeys() (list []string) {
	w.t.Helper()
	err := w.db.View(w.t.Context(), func(tx *store.Tx) error {
		list = nil
		rows, err := tx.Query(w.t.Context(), `SELECT storage, sealed FROM media_storage_keys ORDER BY storage`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var storage string
			var sealed []byte
			if err := rows.Scan(&storage, &sealed); err != nil {
				return err
			}
			if strings.Contains(string(sealed), "PLANTED") || strings.Contains(string(sealed), plantedStorageKey) {
				w.t.Error("a storage key lies open")
			}
			list = append(list, storage[strings.LastIndexByte(storage, '/')+1:])
		}
		return rows.Err()
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// TestStorageByKey: with storageAuthentication System the account holds its storage accounts' keys, sealed, and uses them
// as no identity.
func TestStorageByKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		held := func(want string) {
			t.Helper()
			if got := fmt.Sprint(w.heldKeys()); got != want {
				t.Errorf("keys of %s are held, not of %s", got, want)
			}
		}
		w.put(acct, syncV, fmt.Sprintf(accountDoc, "")).want(201)
		held("[store1]")
		w.out.set(func() { w.out.allowed[withKey] = true })
		w.child("/assets/a", `{}`).want(201)

		// Regenerated: refused at once, and said so in the status until the key is brought anew.
		w.out.set(func() { w.out.allowed[withKey] = false })
		w.child("/assets/b", `{}`).want(403).says("MPE_STORAGE_AUTHENTICATION_FAILED", "syncStorageKeys")
		w.get(acct).want(200).says(`"status":"Disconnected: `, "syncStorageKeys")
		w.out.set(func() { w.out.allowed[withKey] = true })
		w.do("POST", acct+"/syncStorageKeys", asyncV, `{"id":"`+storage+`"}`).want(200)
		w.get(acct).want(200).says(`"status":"Connected"`)
		w.do("POST", acct+"/syncStorageKeys", asyncV, `{"id":"`+storage+`2"}`).want(400)
		// Who may sync but not list the storage account's keys gets none.
		w.grant(poor, contributorRole, acct)
		w.serve(w.arm, "POST", "https://management.keyreel.test"+acct+"/syncStorageKeys"+asyncV, poor, `{"id":"`+storage+`"}`).want(403).says("listKeys")

		// A secondary comes and goes with its key.
		second := strings.Replace(storage, "store1", "store2", 1)
		w.put(second, asyncV, `{"location":"westeurope","properties":{}}`).want(201)
		two := `{"properties":{"storageAccounts":[{"id":"` + storage + `","type":"Primary"},{"id":"` + second + `","type":"Secondary"}]}}`
		w.do("PATCH", acct, syncV, two).want(200)
		held("[store1 store2]")
		w.child("/assets/c", `{"storageAccountName":"store2"}`).want(201)
		w.do("PATCH", acct, syncV, strings.Replace(two, `,{"id":"`+second+`","type":"Secondary"}`, "", 1)).want(200)
		held("[store1]")

		// With a managed identity no key is needed, and none is kept.
		w.letIn()
		w.do("PATCH", acct, syncV, `{"properties":{"storageAuthentication":"ManagedIdentity"}}`).want(200)
		held("[]")
		w.out.set(func() { w.out.allowed[withKey] = false })
		w.child("/assets/d", `{}`).want(201)
		w.out.set(func() { w.out.allowed[withKey] = true })
		w.do("PATCH", acct, syncV, `{"properties":{"storageAuthentication":"System"}}`).want(200)
		held("[store1]")

		// The keys are held by the customer's key.
		w.do("PATCH", acct, syncV, `{"properties":`+strings.TrimPrefix("{"+customer[1:]+"}", ",")+`}`).want(200)
		w.child("/assets/e", `{}`).want(201)
		w.out.set(func() { w.out.vaultRefuses = true })
		if _, err := w.o.Keys.Check(t.Context(), acct); err != nil {
			t.Fatal(err)
		}
		id := w.target(t)
		if _, err := w.client(t.Context(), id); err == nil || !strings.Contains(err.Error(), "CustomerKeyInaccessible") {
			t.Errorf("without the customer's key: %v", err)
		}
		w.out.set(func() { w.out.vaultRefuses = false })
		w.do("DELETE", acct, asyncV, "").want(200)
		held("[]")
	})
}

// target is how acct1 reaches its primary storage account.
func (w *world) target(t *testing.T) storageTarget {
	t.Helper()
	a, err := w.account(t.Context(), resourceID(t, acct))
	if err != nil {
		t.Fatal(err)
	}
	target, err := w.storageTarget(a, "")
	if err != nil {
		t.Fatal(err)
	}
	return target
}
