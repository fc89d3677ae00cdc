package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/keyreel/keyreel"
	"github.com/keyreel/keyreel/internal/azure"
)

const (
	identityVersion = "?api-version=2023-01-31"
	defaultIdentity = "developer" // made in the group runGroup when no identity is named
	runGroup        = "keyreel-run"
	roleContributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"
)

const runUsage = `usage: keyreel run [flags] -- COMMAND [ARGUMENT ...]

Runs a program as a managed identity, without a change or a configuration of its own: its environment says where its
identity is, a proxy of its own leads the host names of Azure and of Keyreel to the server, and the local CA is trusted
in it alone. Signals and the exit status are passed on. The identity's secret dies with the program, and at the latest
after --lease when keyreel run itself is killed.

  keyreel run -- az group list
  keyreel run --identity worker --others refuse -- python3 job.py
  keyreel run --imds -- ./program        needs root; as somebody else: unshare -r keyreel run --imds -- ./program

`

// runOptions are the flags of `keyreel run`.
type runOptions struct {
	data, identity, others, source string
	lease                          time.Duration
	imds                           bool
}

func (o *runOptions) register(fs *flag.FlagSet) {
	fs.StringVar(&o.data, "data", keyreel.DefaultConfig().Data, "data folder of the running server")
	fs.StringVar(&o.identity, "identity", "", "name or ARM ID of a user-assigned identity; empty is one of your own, Contributor of the subscription")
	fs.StringVar(&o.others, "others", "pass", "what the proxy does with hosts that are not the server's: pass or refuse")
	fs.StringVar(&o.source, "source", "", "the one protocol through which the program finds its identity: "+strings.Join(keyreel.Sources(), ", ")+"; empty is what most know")
	fs.DurationVar(&o.lease, "lease", 2*time.Minute, "how long the identity outlives a keyreel run that was killed: 3s to 1h")
	fs.BoolVar(&o.imds, "imds", false, "run the program in a network of its own, in which 169.254.169.254 answers and the proxy is the only way out (Linux)")
}

func (o *runOptions) check(args int) error {
	switch {
	case args == 0:
		return errors.New("no command: keyreel run -- COMMAND [ARGUMENT ...]")
	case o.others != "pass" && o.others != "refuse":
		return fmt.Errorf("--others is %q, not pass or refuse", o.others)
	case o.lease < 3*time.Second || o.lease > time.Hour:
		return fmt.Errorf("--lease %v is not between 3s and 1h", o.lease)
	case o.imds && o.source != "":
		return errors.New("--imds and --source exclude each other")
	}
	return nil
}

// runCommand runs a program as a managed identity.
func runCommand(ctx context.Context, args []string, out, errOut io.Writer) error {
	var o runOptions
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.Usage = func() {
		fmt.Fprint(errOut, runUsage)
		fs.PrintDefaults()
	}
	o.register(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := o.check(fs.NArg()); err != nil {
		return err
	}
	r, err := newRunner(o)
	if err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if r.identity, err = r.resolve(ctx, o.identity); err != nil {
		return err
	}
	if err := r.lease(ctx, o.lease); err != nil {
		return err
	}
	defer r.end()
	start, proxy, err := r.serve()
	if err != nil {
		return err
	}
	defer r.stop()
	env, err := r.environment(proxy, os.Environ())
	if err != nil {
		return err
	}
	// The program decides itself what it does about the signal that ends ctx; until it has ended it keeps its identity.
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go r.renew(renewing, errOut)
	return execute(start, fs.Args(), env, out, errOut)
}

// runner is what `keyreel run` keeps while its program runs.
type runner struct {
	*administrator
	options  runOptions
	dir      string // scratch: CA bundle, az's configuration
	identity string // ARM ID
	servers  []*http.Server

	workload struct {
		ID          string `json:"id"`
		Secret      string `json:"secret"`
		ClientID    string `json:"clientId"`
		PrincipalID string `json:"principalId"`
	}
}

func newRunner(o runOptions) (*runner, error) {
	a, err := newAdministrator(o.data)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keyreel-run-")
	return &runner{administrator: a, options: o, dir: dir}, err
}

// serve starts what the program talks to, and returns how to start the program and the address of its proxy.
func (r *runner) serve() (start func(*exec.Cmd) error, proxy string, err error) {
	start = (*exec.Cmd).Start
	var l, metadata net.Listener
	if r.options.imds {
		start, l, metadata, err = enterNamespace()
	} else {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, "", err
	}
	r.handle(l, r.client.Proxy(r.options.others == "pass"))
	if metadata != nil {
		handler, err := r.client.Metadata(r.workload.ID)
		if err != nil {
			return nil, "", err
		}
		r.handle(metadata, handler)
	}
	return start, l.Addr().String(), nil
}

func (r *runner) handle(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	r.servers = append(r.servers, server)
	go server.Serve(l)
}

func (r *runner) stop() {
	for _, server := range r.servers {
		server.Close()
	}
}

type identityResource struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		PrincipalID string `json:"principalId"`
	} `json:"properties"`
}

// resolve finds an identity by name or ARM ID; "" is the developer's own, made on first use.
func (r *runner) resolve(ctx context.Context, name string) (string, error) {
	sub := "/subscriptions/" + r.client.SubscriptionID()
	if strings.HasPrefix(name, "/") {
		id, err := azure.ParseResourceID(name)
		return id.String(), err
	}
	if name == "" {
		return r.developer(ctx, sub)
	}
	var found []string
	for next := sub + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities" + identityVersion; next != ""; {
		var page struct {
			Value    []identityResource `json:"value"`
			NextLink string             `json:"nextLink"`
		}
		if err := r.call(ctx, http.MethodGet, next, nil, &page); err != nil {
			return "", err
		}
		for _, id := range page.Value {
			if strings.EqualFold(id.Name, name) {
				found = append(found, id.ID)
			}
		}
		next = strings.TrimPrefix(page.NextLink, r.client.URLs().Management())
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no user-assigned identity %q in subscription %s", name, r.client.SubscriptionID())
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%d identities are called %q; name one by its ID: %s", len(found), name, strings.Join(found, ", "))
}

// developer makes the default identity with Contributor on the subscription. Each step is idempotent.
func (r *runner) developer(ctx context.Context, sub string) (string, error) {
	group := sub + "/resourceGroups/" + runGroup
	location := map[string]any{"location": "westeurope"}
	id := group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + defaultIdentity
	var made identityResource
	if r.call(ctx, http.MethodGet, id+identityVersion, nil, &made) != nil {
		if err := r.call(ctx, http.MethodPut, group+"?api-version=2021-04-01", location, nil); err != nil {
			return "", err
		}
		if err := r.call(ctx, http.MethodPut, id+identityVersion, location, &made); err != nil {
			return "", err
		}
	}
	err := r.call(ctx, http.MethodPut, sub+"/providers/Microsoft.Authorization/roleAssignments/"+made.Properties.PrincipalID+"?api-version=2022-04-01", map[string]any{
		"properties": map[string]any{
			"roleDefinitionId": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + roleContributor,
			"principalId":      made.Properties.PrincipalID, "principalType": azure.TypeServicePrincipal,
		},
	}, nil)
	return made.ID, err
}

// lease registers the workload, or renews or (0) ends its lease.
func (r *runner) lease(ctx context.Context, life time.Duration) error {
	body := map[string]any{"seconds": int(life / time.Second), "name": fmt.Sprintf("keyreel run, process %d", os.Getpid())}
	if r.workload.ID != "" {
		body["id"], body["secret"] = r.workload.ID, r.workload.Secret
		return r.call(ctx, http.MethodPost, r.identity+"/assign"+identityVersion, body, nil)
	}
	return r.call(ctx, http.MethodPost, r.identity+"/assign"+identityVersion, body, &r.workload)
}

func (r *runner) renew(ctx context.Context, errOut io.Writer) {
	tick := time.NewTicker(r.options.lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := r.lease(ctx, r.options.lease); err != nil && ctx.Err() == nil {
				fmt.Fprintf(errOut, "keyreel run: renewing the identity's lease: %v\n", err)
			}
		}
	}
}

// end lets the workload's secret die with the program, however this process was told to stop.
func (r *runner) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.lease(ctx, 0); err != nil {
		fmt.Fprintf(os.Stderr, "keyreel run: ending the identity's lease: %v\n", err)
	}
}
