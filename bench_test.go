package keyreel_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/keyreeltest"
)

// bench is a server with a vault, an RSA key, a storage account and a container, and raw HTTP clients to load it with:
// TLS, bearer token, role-based access, durable audit and durable writes all on.
type bench struct {
	*keyreeltest.Server
	http   *http.Client
	tokens map[string]string // by resource
}

func newBench(b *testing.B) *bench {
	b.Helper()
	s := &bench{Server: keyreeltest.Start(b, func(c *keyreel.Config) { c.LogLevel = "error" }), tokens: map[string]string{}}
	s.http = s.HTTPClient()
	sub := "/subscriptions/" + s.Installation().SubscriptionID
	group := sub + "/resourceGroups/bench"
	s.put(b, group+"?api-version=2021-04-01", `{"location":"westeurope"}`)
	s.put(b, group+"/providers/Microsoft.KeyVault/vaults/benchvault?api-version=2023-07-01",
		fmt.Sprintf(`{"location":"westeurope","properties":{"tenantId":%q,"sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`, s.Installation().TenantID))
	s.put(b, group+"/providers/Microsoft.Storage/storageAccounts/benchstore?api-version=2023-05-01",
		`{"location":"westeurope","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`)
	oid := objectID(b, s.Admin)
	for _, role := range []string{"14b46e9e-c2b7-41b4-b07b-48a6ebf60603", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"} {
		s.put(b, group+"/providers/Microsoft.Authorization/roleAssignments/"+azure.NewGUID()+"?api-version=2022-04-01",
			fmt.Sprintf(`{"properties":{"roleDefinitionId":"%s/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":%q}}`, sub, role, oid))
	}
	s.do(b, "PUT", s.URLs().Blob("benchstore")+"/bench?restype=container", "https://storage.azure.com/", nil, 201)
	return s
}

func (s *bench) token(b *testing.B, resource string) string {
	if t := s.tokens[resource]; t != "" {
		return t
	}
	b.Helper()
	t, err := s.Admin.GetToken(b.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	if err != nil {
		b.Fatal(err)
	}
	s.tokens[resource] = t.Token
	return t.Token
}

// claims reads a token's claims without checking it.
func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *bench) put(b *testing.B, path, body string) {
	b.Helper()
	s.do(b, "PUT", s.URLs().Management()+path, "https://management.azure.com", []byte(body), 200, 201)
}

func (s *bench) do(b *testing.B, method, u, resource string, body []byte, want ...int) []byte {
	b.Helper()
	answer, err := s.request(method, u, s.token(b, resource), body, want...)
	if err != nil {
		b.Fatal(err)
	}
	return answer
}

func (s *bench) request(method, u, token string, body []byte, want ...int) ([]byte, error) {
	req, err := http.NewRequest(method, u, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Ms-Version", "2024-11-04")
	req.Header.Set("X-Ms-Blob-Type", "BlockBlob")
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	for _, w := range want {
		if resp.StatusCode == w {
			return answer, nil
		}
	}
	return nil, fmt.Errorf("%s %s: %d %s", method, u, resp.StatusCode, answer)
}

// parallel runs op from n clients at once until b.N are done.
func parallel(b *testing.B, n int, op func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	b.ResetTimer()
	errs := make(chan error, n)
	for range n {
		go func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					errs <- nil
					return
				}
				if err := op(i); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

var clients = []int{1, 16, 64}

func BenchmarkToken(b *testing.B) {
	s := newBench(b)
	in := s.Installation()
	var creds keyreel.Credentials
	readJSON(b, s.CredentialsPath(), &creds)
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {creds.ClientID}, "client_secret": {creds.ClientSecret},
		"scope": {"https://management.azure.com/.default"},
	}.Encode()
	for _, n := range clients {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			parallel(b, n, func(int64) error {
				resp, err := s.http.Post(s.URLs().Login()+"/"+in.TenantID+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", strings.NewReader(form))
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					return fmt.Errorf("%d %v", resp.StatusCode, err)
				}
				return nil
			})
		})
	}
}

func BenchmarkKeyVault(b *testing.B) {
	s := newBench(b)
	vault, token := s.URLs().Vault("benchvault"), s.token(b, "https://vault.azure.net")
	value := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for _, size := range []int{2048, 3072} {
		name := fmt.Sprintf("rsa%d", size)
		s.do(b, "POST", fmt.Sprintf("%s/keys/%s/create?api-version=7.4", vault, name), "https://vault.azure.net", fmt.Appendf(nil, `{"kty":"RSA","key_size":%d}`, size), 200)
		body := fmt.Appendf(nil, `{"alg":"RSA-OAEP-256","value":%q}`, value)
		wrapped := s.do(b, "POST", vault+"/keys/"+name+"/wrapkey?api-version=7.4", "https://vault.azure.net", body, 200)
		var answer struct{ Value string }
		if err := json.Unmarshal(wrapped, &answer); err != nil {
			b.Fatal(err)
		}
		unwrap := fmt.Appendf(nil, `{"alg":"RSA-OAEP-256","value":%q}`, answer.Value)
		for _, n := range clients {
			for op, body := range map[string][]byte{"wrapkey": body, "unwrapkey": unwrap} {
				b.Run(fmt.Sprintf("%s/%s/clients=%d", name, op, n), func(b *testing.B) {
					parallel(b, n, func(int64) error {
						_, err := s.request("POST", vault+"/keys/"+name+"/"+op+"?api-version=7.4", token, body, 200)
						return err
					})
				})
			}
		}
	}
}

func BenchmarkBlob4KiB(b *testing.B) {
	s := newBench(b)
	base, token := s.URLs().Blob("benchstore")+"/bench/", s.token(b, "https://storage.azure.com")
	data := make([]byte, 4<<10)
	rand.Read(data)
	for _, n := range clients {
		b.Run(fmt.Sprintf("put/clients=%d", n), func(b *testing.B) {
			parallel(b, n, func(i int64) error {
				_, err := s.request("PUT", fmt.Sprintf("%sb%d", base, i%1000), token, data, 201)
				return err
			})
		})
	}
	for i := range 1000 {
		s.do(b, "PUT", fmt.Sprintf("%sb%d", base, i), "https://storage.azure.com", data, 201)
	}
	for _, n := range clients {
		b.Run(fmt.Sprintf("get/clients=%d", n), func(b *testing.B) {
			parallel(b, n, func(i int64) error {
				_, err := s.request("GET", fmt.Sprintf("%sb%d", base, i%1000), token, nil, 200)
				return err
			})
		})
	}
}

func BenchmarkBlob256MiB(b *testing.B) {
	s := newBench(b)
	client, err := azblob.NewClient(s.URLs().Blob("benchstore"), s.Admin, &azblob.ClientOptions{ClientOptions: s.ClientOptions()})
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 256<<20)
	rand.Read(data)
	ctx := context.Background()
	b.Run("upload/blocks=8MiB,c=4", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			_, err := client.UploadBuffer(ctx, "bench", "large", data, &azblob.UploadBufferOptions{BlockSize: 8 << 20, Concurrency: 4})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("upload/single", func(b *testing.B) {
		token := s.token(b, "https://storage.azure.com")
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := s.request("PUT", s.URLs().Blob("benchstore")+"/bench/large", token, data, 201); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("download/single", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			r, err := client.DownloadStream(ctx, "bench", "large", nil)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				b.Fatal(err)
			}
			r.Body.Close()
		}
	})
	b.Run("download/ranges=8MiB,c=4", func(b *testing.B) {
		out := make([]byte, len(data))
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			_, err := client.DownloadBuffer(ctx, "bench", "large", out, &azblob.DownloadBufferOptions{BlockSize: 8 << 20, Concurrency: 4, Range: blob.HTTPRange{}})
			if err != nil {
				b.Fatal(err)
			}
		}
		if !bytes.Equal(out, data) {
			b.Fatal("what came back differs")
		}
	})
}
