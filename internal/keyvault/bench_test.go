//go:build unix

package keyvault_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/keyreel/keyreel/internal/store/storetest"
)

// BenchmarkWrapUnwrap puts the whole handler (vault, token, firewall, role, key, audit record on disk) beside the bare
// operation of crypto/rsa.
func BenchmarkWrapUnwrap(b *testing.B) {
	s := newServer(b, storetest.SQLite(b, schemas...))
	s.vault("kv1", "")
	s.assign("media", serviceUserRole, vaultsPath+"kv1")
	secret := []byte("thirty-two bytes of account key!")
	for _, bits := range []int{2048, 3072} {
		name := fmt.Sprint("k", bits)
		s.create("kv1", name, fmt.Sprintf(`{"kty":"RSA","key_size":%d}`, bits))
		wrapped := s.do("kv1", "media", "POST", "/keys/"+name+"//wrapkey", wrapBody).field("value")
		local, err := rsa.GenerateKey(rand.Reader, bits)
		s.must(err)
		sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &local.PublicKey, secret, nil)
		s.must(err)
		unwrapBody := `{"alg":"RSA-OAEP-256","value":"` + wrapped + `"}`
		for op, body := range map[string]string{"wrapkey": wrapBody, "unwrapkey": unwrapBody} {
			request := func() int {
				r := httptest.NewRequest("POST", "https://kv1.vault.keyreel.localhost/keys/"+name+"//"+op+"?api-version=7.4", strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer media|https://vault.azure.net")
				w := httptest.NewRecorder()
				s.data.ServeHTTP(w, r)
				return w.Code
			}
			b.Run(fmt.Sprintf("RSA-%d/%s/handler", bits, op), func(b *testing.B) {
				defer cpu(b)()
				for b.Loop() {
					if code := request(); code != 200 {
						b.Fatal(code)
					}
				}
			})
			b.Run(fmt.Sprintf("RSA-%d/%s/handler-parallel-16", bits, op), func(b *testing.B) {
				b.SetParallelism(8)
				defer cpu(b)()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if code := request(); code != 200 {
							b.Error(code)
						}
					}
				})
			})
		}
		b.Run(fmt.Sprintf("RSA-%d/wrapkey/crypto-rsa", bits), func(b *testing.B) {
			defer cpu(b)()
			for b.Loop() {
				rsa.EncryptOAEP(sha256.New(), rand.Reader, &local.PublicKey, secret, nil)
			}
		})
		b.Run(fmt.Sprintf("RSA-%d/unwrapkey/crypto-rsa", bits), func(b *testing.B) {
			defer cpu(b)()
			for b.Loop() {
				rsa.DecryptOAEP(sha256.New(), nil, local, sealed, nil)
			}
		})
	}
}

// cpu reports the process's own time, which other load on the machine and the disk's do not change.
func cpu(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N)/1000, "cpu-µs/op") }
}
