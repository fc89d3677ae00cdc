//go:build linux

package keyreel_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// loadVariable holds a load in JSON: with it the test binary is a client, a process of its own, so that what a server
// costs can be told from what its clients cost.
const loadVariable = "KEYREEL_BENCH_LOAD"

func TestMain(m *testing.M) {
	spec := os.Getenv(loadVariable)
	if spec == "" {
		os.Exit(m.Run())
	}
	var l load
	err := json.Unmarshal([]byte(spec), &l)
	if err == nil {
		var r rate
		if r, err = l.run(); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(r)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// load is requests for one server of blobs, which listens on loopback, from as many clients at once as it says.
type load struct {
	Base    string // a container's URL
	CA      string // file; empty trusts anybody: a peer's certificate is of its own making
	HTTP2   bool
	Bearer  string
	Account string // with Key: SharedKey
	Key     string
	Op      string // "put", "get", "list"
	Names   int    // how many blobs are written and read in turn
	Size    int    // bytes of a blob
	Clients int
	Count   int           // requests; 0 goes by Time
	Time    time.Duration // a tenth of it more to warm up
}

// rate is what came of a load.
type rate struct {
	Ops      int // all, those of the warming up too
	Measured int
	Time     time.Duration
	P50, P99 time.Duration
}

func (r rate) perSecond() float64 { return float64(r.Measured) / r.Time.Seconds() }

// apart runs the load in a process of its own.
func (l load) apart() (rate, error) {
	spec, err := json.Marshal(l)
	if err != nil {
		return rate{}, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), loadVariable+"="+string(spec))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return rate{}, fmt.Errorf("load %s %s: %w", l.Op, l.Base, err)
	}
	var r rate
	return r, json.Unmarshal(out, &r)
}

func (l load) client() (*http.Client, error) {
	config := &tls.Config{InsecureSkipVerify: l.CA == ""}
	if l.CA != "" {
		pem, err := os.ReadFile(l.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	t := &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: l.Clients, ForceAttemptHTTP2: l.HTTP2}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}
	if !l.HTTP2 {
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return &http.Client{Transport: t}, nil
}

func (l load) run() (rate, error) {
	client, err := l.client()
	if err != nil {
		return rate{}, err
	}
	data := make([]byte, l.Size)
	rand.Read(data)
	var next, stop atomic.Int64
	stop.Store(int64(l.Count))
	begun := time.Now()
	warm, end := begun, begun.Add(24*time.Hour)
	if l.Count == 0 {
		stop.Store(1 << 62)
		warm = begun.Add(l.Time / 10)
		end = warm.Add(l.Time)
	}
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var clients sync.WaitGroup
	for range l.Clients {
		clients.Go(func() {
			var mine []time.Duration
			var err error
			for err == nil {
				start := time.Now()
				i := next.Add(1)
				if i > stop.Load() || start.After(end) {
					break
				}
				if err = l.request(client, i, data); err == nil && !start.Before(warm) {
					mine = append(mine, time.Since(start))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, mine...), errors.Join(failed, err)
		})
	}
	clients.Wait()
	if failed != nil || len(all) == 0 {
		return rate{}, fmt.Errorf("%d requests answered: %w", len(all), failed)
	}
	r := rate{Ops: int(next.Load()) - l.Clients, Measured: len(all), Time: time.Since(warm)}
	slices.Sort(all)
	r.P50, r.P99 = all[len(all)/2], all[len(all)*99/100]
	return r, nil
}

// request sends one request; a list is all its pages.
func (l load) request(client *http.Client, i int64, data []byte) error {
	name := fmt.Sprintf("%s/b%06d", l.Base, i%int64(l.Names))
	switch l.Op {
	case "put":
		_, err := l.send(client, http.MethodPut, name, data, http.StatusCreated)
		return err
	case "get":
		got, err := l.send(client, http.MethodGet, name, nil, http.StatusOK)
		if err == nil && len(got) != l.Size {
			err = fmt.Errorf("%s has %d bytes", name, len(got))
		}
		return err
	}
	found, marker := 0, ""
	for {
		page, err := l.send(client, http.MethodGet, l.Base+"?restype=container&comp=list&marker="+url.QueryEscape(marker), nil, http.StatusOK)
		if err != nil {
			return err
		}
		found += bytes.Count(page, []byte("<Blob>"))
		_, rest, _ := strings.Cut(string(page), "<NextMarker>")
		if marker, _, _ = strings.Cut(rest, "</NextMarker>"); marker == "" {
			break
		}
	}
	if found != l.Names {
		return fmt.Errorf("listed %d blobs of %d", found, l.Names)
	}
	return nil
}

func (l load) send(client *http.Client, method, u string, body []byte, want int) ([]byte, error) {
	r, err := http.NewRequest(method, u, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Ms-Version", "2024-11-04")
	r.Header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
	if method == http.MethodPut {
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Header.Set("X-Ms-Blob-Type", "BlockBlob")
	}
	if r.Header.Set("Authorization", "Bearer "+l.Bearer); l.Key != "" {
		if err := l.sign(r, len(body)); err != nil {
			return nil, err
		}
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", method, u, resp.Status, answer)
	}
	return answer, err
}

// sign is SharedKey for the headers that send sets.
func (l load) sign(r *http.Request, length int) error {
	size := ""
	if length > 0 {
		size = fmt.Sprint(length)
	}
	text := r.Method + "\n\n\n" + size + "\n\n" + r.Header.Get("Content-Type") + "\n\n\n\n\n\n\n"
	for _, name := range []string{"x-ms-blob-type", "x-ms-date", "x-ms-version"} {
		if v := r.Header.Get(name); v != "" {
			text += name + ":" + v + "\n"
		}
	}
	text += "/" + l.Account + r.URL.EscapedPath()
	q := r.URL.Query()
	for _, name := range []string{"comp", "marker", "restype"} {
		if q.Has(name) {
			text += "\n" + name + ":" + q.Get(name)
		}
	}
	key, err := base64.StdEncoding.DecodeString(l.Key)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	r.Header.Set("Authorization", "SharedKey "+l.Account+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return err
}
