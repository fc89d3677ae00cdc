// Command keyreel is the server and its tools. `keyreel help` lists them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/keyreel/keyreel"
)

type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, out, errOut io.Writer) error
}

func commands() []command {
	return []command{
		{"serve", "run the server (settings: keyreel serve --help)", serve},
		{"run", "run a program as a managed identity (keyreel run --help)", runCommand},
		{"explain", "say whether somebody may do something, and why (keyreel explain --help)", explain},
		{"audit", "verify or list the audit log (keyreel audit help)", auditCommand},
		{"demo", "run the main job on a real video, step by step, on a server of its own", demo},
		{"version", "print the version", version},
	}
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 {
		usage(os.Stderr)
		return 2
	}
	for _, c := range commands() {
		if c.name != os.Args[1] {
			continue
		}
		err := c.run(ctx, os.Args[2:], os.Stdout, os.Stderr)
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		var exit *exec.ExitError // the program of `keyreel run` has told its failure itself
		if errors.As(err, &exit) {
			return exitStatus(exit.ProcessState)
		}
		var failed *failure
		if errors.As(err, &failed) {
			if failed.err != nil {
				fmt.Fprintf(os.Stderr, "keyreel %s: %v\n", c.name, failed.err)
			}
			return failed.code
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "keyreel %s: %v\n", c.name, err)
			return 1
		}
		return 0
	}
	switch os.Args[1] {
	case "help", "-h", "-help", "--help":
		usage(os.Stdout)
		return 0
	}
	fmt.Fprintf(os.Stderr, "keyreel: there is no command %q\n", os.Args[1])
	usage(os.Stderr)
	return 2
}

// failure is an end with an exit status of its own. Without an error everything has been said.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit status %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// exitStatus is that of a program that has ended, as shells give it: 128 and the signal's number when one ended it.
func exitStatus(p *os.ProcessState) int {
	if status, ok := p.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return max(p.ExitCode(), 1)
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: keyreel COMMAND [--flag value ...]")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
}

func version(_ context.Context, _ []string, out, _ io.Writer) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the binary holds no build information")
	}
	fmt.Fprintf(out, "keyreel %s %s\n", info.Main.Version, info.GoVersion)
	return nil
}

// logger writes one JSON object a line.
func logger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log-level: %w", err)
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
}

func serve(ctx context.Context, args []string, out, errOut io.Writer) error {
	config, err := keyreel.LoadConfig("serve", args, os.Environ(), errOut)
	if err != nil {
		return err
	}
	log, err := logger(errOut, config.LogLevel)
	if err != nil {
		return err
	}
	srv, err := keyreel.Open(ctx, config, log)
	if err != nil {
		return err
	}
	greet(out, srv)
	return errors.Join(srv.Serve(ctx), srv.Close())
}

// greet says how to reach the server and how to sign in.
func greet(w io.Writer, srv *keyreel.Server) {
	in, urls, data := srv.Installation(), srv.URLs(), filepath.Dir(srv.CredentialsPath())
	fmt.Fprintf(w, `Keyreel serves on %s
  authority         %s/%s
  resource manager  %s
  subscription      %s
  identities        %s
  administrator     client id %s; its secret is in %s
`, srv.Addr(), urls.Login(), in.TenantID, urls.Management(), in.SubscriptionID, srv.IdentityURL(), in.AdminAppID, srv.CredentialsPath())
	if in.AdminUser != "" {
		fmt.Fprintf(w, "                    user %s; the first password is there too\n", in.AdminUser)
	}
	if u := srv.MetadataURL(); u != "" {
		fmt.Fprintf(w, "  metadata service  %s\n", u)
	}
	fmt.Fprintf(w, `  trust             %s
Run az, or any other program, as an identity of its own:
  keyreel run --data %[2]s -- az group list
Sign in with az as the administrator, in a shell that leads it here (keyreel run --data %[2]s -- bash):
`, srv.CAPath(), data)
	if in.AdminUser != "" {
		fmt.Fprintf(w, "  az login -u %s\n", in.AdminUser)
	}
	fmt.Fprintf(w, `  az login --service-principal --tenant %s -u %s
Sign in with any Azure SDK as a client secret credential of that tenant, with the authority and the resource manager
above, the CA trusted (SSL_CERT_FILE), and instance discovery off.
`, in.TenantID, in.AdminAppID)
}
