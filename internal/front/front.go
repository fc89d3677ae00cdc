package front

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

const (
	// writePatience is how long a client may take to accept a piece of an answer, and drainPatience how long the rest of
	// a body that nobody asked for may take: a client that reads or sends nothing must not hold a connection for ever.
	writePatience = time.Minute
	drainPatience = 10 * time.Second
	writePiece    = 256 << 10 // bytes
	writeBuffered = 2 << 10   // bytes that net/http keeps back in any case: nobody waits for a client yet
	maxLogged     = 4 << 10   // bytes of a host or a path; anybody can send longer ones
)

// Front chooses the service by host name. Its fields are set before it serves and not changed after.
type Front struct {
	Hosts    azure.Hosts
	Services map[string]http.Handler // by azure's service names
	Log      *slog.Logger
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, ok := f.Hosts.Parse(r.Host)
	handler := f.Services[target.Service]
	if !ok || handler == nil {
		handler = http.HandlerFunc(f.unknownHost)
	}
	if target.Service != azure.Blob && target.Service != azure.Streaming {
		guard(w.Header(), r)
	}
	Observe(f.Log, handler).ServeHTTP(w, r)
}

// guard sets what keeps browsers and caches from making more of an answer than it is. A service may replace it. Content
// that customers stored has the header fields that they gave it.
func guard(h http.Header, r *http.Request) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store") // tokens and keys are among the answers, and what each caller may see differs
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	}
}

func (f *Front) unknownHost(w http.ResponseWriter, r *http.Request) {
	d := f.Hosts.Domain
	e := azure.Errorf(http.StatusNotFound, "HostNotFound",
		"No service answers at the host '%s'. This server answers at login.%[2]s, management.%[2]s, {vault}.vault.%[2]s, "+
			"{account}.blob.%[2]s, {endpoint}-{account}.streaming.%[2]s and {account}.keydelivery.%[2]s, and at Azure's public names for them.", cut(r.Host), d)
	azure.EventOf(r.Context()).ErrorCode = e.Code
	azure.RenderARM(w, r, e)
}

// Observe gives requests their id and event, logs each once when it has ended, and turns panics into 500.
func Observe(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ev := &azure.Event{RequestID: azure.NewGUID(), ClientRequestID: clientRequestID(r)}
		w.Header().Set("X-Ms-Request-Id", ev.RequestID)
		if ev.ClientRequestID != "" {
			w.Header().Set("X-Ms-Client-Request-Id", ev.ClientRequestID)
		}
		out := &counted{ResponseWriter: w, connection: http.NewResponseController(w)}
		if r.ProtoMajor == 1 {
			out.connection.SetWriteDeadline(time.Time{}) // the one for the end of the answer before
		}
		start := time.Now()
		defer func() {
			p := recover()
			out.connection.SetWriteDeadline(time.Now().Add(writePatience))
			if r.ProtoMajor == 1 && r.ContentLength != 0 { // HTTP/2 waits for nothing
				out.connection.SetReadDeadline(time.Now().Add(drainPatience))
			}
			if p != nil && p != http.ErrAbortHandler {
				ev.Err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				if out.status == 0 {
					e, _ := azure.AsError(ev.Err)
					azure.RenderARM(out, r, e)
				}
			}
			logRequest(log, r, ev, out, time.Since(start))
			if p != nil { // the answer is not whole: cut the connection
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(out, r.WithContext(azure.WithEvent(r.Context(), ev)))
	})
}

// clientRequestID returns the id that the client gave, when it is short and printable enough to log and echo.
func clientRequestID(r *http.Request) string {
	id := r.Header.Get("X-Ms-Client-Request-Id")
	if len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return c < ' ' || c > '~' }) {
		return ""
	}
	return id
}

func cut(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "..."
	}
	return s
}

func logRequest(log *slog.Logger, r *http.Request, ev *azure.Event, out *counted, took time.Duration) {
	path := r.URL.EscapedPath()
	if ev.Service == "identity" { // it holds the workload's id, which is a credential
		path = ""
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("id", ev.RequestID), slog.String("service", ev.Service), slog.String("operation", ev.Operation),
		slog.String("method", r.Method), slog.String("host", cut(r.Host)), slog.String("path", cut(path)),
		slog.Int("status", out.status), slog.Int64("bytes", out.bytes), slog.Duration("took", took), slog.String("from", r.RemoteAddr),
	}
	for _, a := range []struct{ key, value string }{
		{"clientId", ev.ClientRequestID}, {"principal", ev.Principal}, {"action", ev.Action}, {"scope", ev.Scope}, {"code", ev.ErrorCode},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	if ev.Err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("err", ev.Err.Error()))
	}
	log.LogAttrs(r.Context(), level, "request", attrs...)
}

// counted remembers the status and size of an answer, and gives up on a client that does not take it.
type counted struct {
	http.ResponseWriter
	connection *http.ResponseController
	status     int
	bytes      int64
}

func (w *counted) WriteHeader(status int) {
	if w.status < 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *counted) Write(p []byte) (int, error) {
	if w.status < 200 {
		w.status = http.StatusOK
	}
	if w.bytes+int64(len(p)) <= writeBuffered {
		n, err := w.ResponseWriter.Write(p)
		w.bytes += int64(n)
		return n, err
	}
	written := 0
	for {
		piece := p[written:min(written+writePiece, len(p))]
		w.connection.SetWriteDeadline(time.Now().Add(writePatience))
		n, err := w.ResponseWriter.Write(piece)
		written += n
		w.bytes += int64(n)
		if err != nil || written == len(p) {
			w.connection.SetWriteDeadline(time.Time{}) // the handler may take its time before the next
			return written, err
		}
	}
}

// Unwrap serves http.ResponseController.
func (w *counted) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TLSConfig serves certificates of the CA for every host that the server answers for, and for the address of a
// client that names none. own, when not nil, takes the place of the CA for the names that it covers.
func TLSConfig(hosts azure.Hosts, ca *CA, own *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
			if own != nil && (name == "" || own.Leaf.VerifyHostname(name) == nil) {
				return own, nil
			}
			if name == "" {
				host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
				if err != nil {
					return nil, fmt.Errorf("no server name and no local address: %w", err)
				}
				return ca.Leaf(host)
			}
			if _, ok := hosts.Parse(name); !ok && name != "localhost" {
				return nil, fmt.Errorf("no service answers at %q", name)
			}
			return ca.Leaf(name)
		},
	}
}

// NewServer returns an HTTP server with the limits that a public listener needs.
func NewServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: writePatience, SendPingTimeout: writePatience, PingTimeout: 15 * time.Second},
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // handshakes that failed, mostly scans
	}
}
