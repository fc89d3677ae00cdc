package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"

	"github.com/keyreel/keyreel"
)

// demo runs the main job on a server of its own in a temporary folder. Everything goes through the public HTTP APIs
// with the official SDKs.
func demo(ctx context.Context, args []string, out, errOut io.Writer) error {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(errOut)
	keep := fs.Bool("keep", false, "leave the server running at the end, until interrupted, and its folder in place")
	input := fs.String("input", "", "an MP4 file of your own; empty makes a test video")
	seconds := fs.Int("seconds", 20, "length of the test video")
	if err := fs.Parse(args); err != nil {
		return err
	}
	for _, tool := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is needed to encode and to check the video; as root run: apt-get install -y ffmpeg", tool)
		}
	}
	dir, err := os.MkdirTemp("", "keyreel-demo-")
	if err != nil {
		return err
	}
	if !*keep {
		defer os.RemoveAll(dir)
	}
	s := &story{terminal: newTerminal(out), dir: dir, input: *input, seconds: *seconds}
	serve, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	defer func() { cancel(); <-served }()
	if err := s.startServer(ctx, serve, served); err != nil {
		served <- nil
		return err
	}
	defer s.srv.Close()
	defer func() { cancel(); served <- <-served }()
	if err := s.tell(ctx); err != nil {
		return fmt.Errorf("%w\n(the server's log is %s)", err, s.keepLog())
	}
	if *keep {
		fmt.Fprintf(out, "\nThe server goes on; its folder is %s. Interrupt to end it.\n\n", dir)
		greet(out, s.srv)
		fmt.Fprintf(out, "  play              %s\n  proxy for players http://%s (CONNECT; knows this server's hosts alone)\n", s.clearURL, s.proxy)
		<-ctx.Done()
	}
	return nil
}

// story is the state of a demo: what its chapters hand on to each other.
type story struct {
	*terminal
	dir, input string
	seconds    int

	srv   *keyreel.Server
	log   string
	proxy string // address of a CONNECT proxy for players that cannot be told where hosts are
	admin azcore.TokenCredential
	opts  *arm.ClientOptions

	group, storage, account, vault   string // names
	groupID, storageID, vaultID      string // ARM IDs
	principal, keyName, firstVersion string
	keyGrant                         string // name of the role assignment on the vault
	video                            string
	frames                           int // of the source
	clearURL, aesURL, token          string
}

func (s *story) tell(ctx context.Context) error {
	chapters := []func(context.Context) error{
		s.resources, s.refusedAndGranted, s.customerKey, s.upload, s.encode, s.stream, s.protect, s.revoke, s.rotate, s.audit,
	}
	for _, chapter := range chapters {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "\nDone in %s: one storage account behind a closed firewall, one vault, one media account, and no credential configured in it.\n", round(time.Since(s.start)))
	return nil
}

func (s *story) startServer(ctx, serve context.Context, served chan<- error) error {
	s.title("A server in a temporary folder, on free ports")
	return s.step("open the database, make tenant, subscription, local CA, administrator", func() (string, error) {
		c := keyreel.DefaultConfig()
		c.Data, c.Listen, c.IdentityListen = filepath.Join(s.dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
		s.log = filepath.Join(s.dir, "keyreel.log")
		logFile, err := os.Create(s.log)
		if err != nil {
			return "", err
		}
		srv, err := keyreel.Open(ctx, c, slog.New(slog.NewJSONHandler(logFile, nil)))
		if err != nil {
			return "", err
		}
		s.srv = srv
		proxy, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", errors.Join(err, srv.Close())
		}
		s.proxy = proxy.Addr().String()
		proxyServer := &http.Server{Handler: srv.Proxy(false), ReadHeaderTimeout: 10 * time.Second}
		go proxyServer.Serve(proxy)
		go func() {
			err := srv.Serve(serve)
			proxyServer.Close()
			logFile.Close()
			served <- err
		}()
		if s.admin, err = srv.Administrator(); err != nil {
			return "", err
		}
		s.opts = &arm.ClientOptions{ClientOptions: srv.ClientOptions()}
		return fmt.Sprintf("%s\ntenant %s", srv.URLs().Management(), srv.Installation().TenantID), nil
	})
}

// keepLog copies the log out of the folder that is about to go, and returns where it is.
func (s *story) keepLog() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return "lost: " + err.Error()
	}
	f, err := os.CreateTemp("", "keyreel-demo-*.log")
	if err != nil {
		return "lost: " + err.Error()
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return "lost: " + err.Error()
	}
	return f.Name()
}

// eventually repeats check, with the time it took in the end, for what the server promises to do within a time.
func eventually(ctx context.Context, limit time.Duration, check func() error) (time.Duration, error) {
	start := time.Now()
	for {
		err := check()
		took := time.Since(start)
		if err == nil {
			return took, nil
		}
		if took > limit {
			return took, fmt.Errorf("not within %s: %w", limit, err)
		}
		select {
		case <-ctx.Done():
			return took, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
