//go:build linux

package keyreel_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// peer is a server of blobs that is measured.
type peer struct {
	name string
	load load                 // without Op, Names, Size, Clients and Time
	cpu  func() time.Duration // what the server's process has used so far
}

// BenchmarkApart loads the server from a process of its own, over HTTP/1.1 with a connection for each client and over
// HTTP/2 with one for all, and tells what the server alone costs.
func BenchmarkApart(b *testing.B) {
	s := newBench(b)
	for _, http2 := range []bool{false, true} {
		p := s.peer(b, "Keyreel", http2)
		p.load.fill(b, 1000, 4<<10)
		for _, op := range []string{"put", "get"} {
			for _, n := range clients {
				b.Run(fmt.Sprintf("%s4KiB/http2=%t/clients=%d", op, http2, n), func(b *testing.B) {
					l := p.load
					l.Op, l.Names, l.Size, l.Clients, l.Count = op, 1000, 4<<10, n, max(b.N, 1000)
					before := p.cpu()
					r, err := l.apart()
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(r.perSecond(), "op/s")
					b.ReportMetric(float64((p.cpu()-before).Microseconds())/float64(r.Ops), "server-cpu-µs/op")
					b.ReportMetric(float64(r.P99.Microseconds())/1000, "p99-ms")
				})
			}
		}
	}
}

func (s *bench) peer(b *testing.B, name string, http2 bool) peer {
	return peer{name, load{
		Base: s.URLs().Blob("benchstore") + "/bench", CA: s.CAPath(), HTTP2: http2, Bearer: s.token(b, "https://storage.azure.com"),
	}, func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}}
}

// BenchmarkPeers runs the same load on Azurite and on Keyreel in turn and prints the medians. Azurite keeps its data on
// disk, as it does by default, once over plain HTTP with its shared key, which is its quickest, and once as Keyreel
// always is: over TLS with a bearer token. tools/bench-peers.sh sets KEYREEL_BENCH_PEERS, the folder with both.
func BenchmarkPeers(b *testing.B) {
	folder := os.Getenv("KEYREEL_BENCH_PEERS")
	if folder == "" {
		b.Skip("KEYREEL_BENCH_PEERS names no folder; run tools/bench-peers.sh")
	}
	rounds, blobs := setting(b, "KEYREEL_BENCH_ROUNDS", 5), setting(b, "KEYREEL_BENCH_BLOBS", 20_000)
	s := newBench(b)
	peers := []peer{
		s.peer(b, "Keyreel, TLS, token, HTTP/1.1", false), s.peer(b, "Keyreel, TLS, token, HTTP/2", true),
		azurite(b, folder, false), azurite(b, folder, true),
	}
	measure := func(title string, rounds int, on []peer, shape func(*load)) {
		rates, cpu := make([][]float64, len(on)), make([][]float64, len(on))
		for range rounds {
			for i, p := range on {
				l := p.load
				shape(&l)
				before := p.cpu()
				r, err := l.apart()
				if err != nil {
					b.Fatalf("%s: %s: %v", title, p.name, err)
				}
				rates[i] = append(rates[i], r.perSecond())
				cpu[i] = append(cpu[i], float64((p.cpu()-before).Microseconds())/float64(r.Ops))
			}
		}
		fmt.Printf("\n%s (median of %d rounds in turn [least-most])\n", title, rounds)
		for i, p := range on {
			slices.Sort(rates[i])
			slices.Sort(cpu[i])
			median := rates[i][rounds/2]
			line := fmt.Sprintf("  %-32s %9.1f /s [%.1f-%.1f]  server CPU %7.0f µs", p.name, median, rates[i][0], rates[i][rounds-1], cpu[i][rounds/2])
			if i >= len(on)/2 { // Azurite
				line += fmt.Sprintf("  Keyreel is %.1f times as fast (HTTP/1.1), %.1f (HTTP/2)", rates[0][rounds/2]/median, rates[1][rounds/2]/median)
			}
			fmt.Println(line)
		}
	}
	for _, p := range peers {
		p.load.fill(b, 1000, 4<<10)
	}
	for _, op := range []string{"put", "get"} {
		for _, n := range clients {
			measure(fmt.Sprintf("%s 4 KiB, %d clients", op, n), rounds, peers, func(l *load) {
				l.Op, l.Names, l.Size, l.Clients, l.Time = op, 1000, 4<<10, n, 2*time.Second
			})
		}
	}
	full := []peer{peers[0], peers[1], peers[2], peers[3]}
	for i := range full {
		full[i].load.Base = strings.TrimSuffix(full[i].load.Base, "bench") + "full"
	}
	s.do(b, "PUT", s.URLs().Blob("benchstore")+"/full?restype=container", "https://storage.azure.com/", nil, http.StatusCreated)
	for i, p := range []peer{full[0], full[2], full[3]} {
		l := p.load
		if i > 0 {
			l.create(b)
		}
		l.fill(b, blobs, 16)
	}
	measure(fmt.Sprintf("list %d blobs, pages of 5000", blobs), 3, full, func(l *load) {
		l.Op, l.Names, l.Clients, l.Count = "list", blobs, 1, 1
	})
}

func setting(b *testing.B, name string, otherwise int) int {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q", name, v)
	}
	return n
}

// azurite starts Azurite on loopback with an account of its own and a container.
func azurite(b *testing.B, folder string, secure bool) peer {
	b.Helper()
	node, err := filepath.Glob(filepath.Join(folder, "node_modules", "node-linux-*", "bin", "node"))
	if err != nil || len(node) == 0 {
		b.Fatalf("no Node in %s; run tools/bench-peers.sh", folder)
	}
	port, dir := freePort(b), b.TempDir()
	key := base64.StdEncoding.EncodeToString([]byte("a key for the length of one benchmark"))
	p := peer{name: "Azurite, HTTP, shared key", load: load{Base: fmt.Sprintf("http://127.0.0.1:%s/bench/bench", port), Account: "bench", Key: key}}
	args := []string{
		filepath.Join(folder, "node_modules/azurite/dist/src/blob/main.js"), "--blobHost", "127.0.0.1", "--blobPort", port,
		"--location", dir, "--silent", "--disableTelemetry", "--skipApiVersionCheck",
	}
	if secure {
		p.name, p.load.Base, p.load.Key = "Azurite, TLS, token", "https"+strings.TrimPrefix(p.load.Base, "http"), ""
		p.load.Bearer = unsignedToken(b)
		cert, certKey := selfSigned(b, dir)
		args = append(args, "--oauth", "basic", "--cert", cert, "--key", certKey)
	}
	cmd := exec.Command(node[0], args...)
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS=bench:"+key)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			break
		}
		if time.Since(begun) > time.Minute {
			b.Fatalf("Azurite does not listen: %v", err)
		}
	}
	p.load.create(b)
	p.cpu = func() time.Duration { return usedBy(b, cmd.Process.Pid) }
	return p
}

func (l load) create(b *testing.B) {
	b.Helper()
	client, err := l.client()
	if err == nil {
		_, err = l.send(client, http.MethodPut, l.Base+"?restype=container", nil, http.StatusCreated)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// fill writes that many blobs.
func (l load) fill(b *testing.B, blobs, size int) {
	b.Helper()
	l.Op, l.Names, l.Size, l.Clients, l.Count = "put", blobs, size, 16, blobs
	if _, err := l.apart(); err != nil {
		b.Fatal(err)
	}
}

func freePort(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// unsignedToken is one that Azurite takes, which checks no signature.
func unsignedToken(b *testing.B) string {
	b.Helper()
	body, err := json.Marshal(map[string]any{
		"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/", "oid": "bench",
		"iat": time.Now().Add(-time.Minute).Unix(), "nbf": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(24 * time.Hour).Unix(),
	})
	if err != nil {
		b.Fatal(err)
	}
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part(body) + "." + part([]byte("no signature"))
}

func selfSigned(b *testing.B, dir string) (cert, key string) {
	b.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, private.Public(), private)
	if err != nil {
		b.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		b.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
}

// usedBy reads a process's CPU time in Linux's hundredths of a second.
func usedBy(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	var ticks int64
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
