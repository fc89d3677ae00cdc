package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/keyreel/keyreel"
)

const auditUsage = `usage: keyreel audit verify [--data FOLDER | --database URL] [--head HEAD]
       keyreel audit list   [--data FOLDER | --database URL] [--since 24h] [--principal ID] [--resource ID] [--operation NAME]

verify walks the chain of the audit log and finds every record that was changed, removed, put in or moved. It prints the
number of records, the times of the first and the last, and the head. Keep that elsewhere and give it to the next verify:
it finds then, too, whether the chain was written anew or its end cut off.
list prints records, one JSON object a line, oldest first.

Both read the database, of a server that runs as of one that does not, and change nothing. They take the settings of
keyreel serve. Exit status of verify: 0 the chain is whole, 1 it is not, 2 it could not be read.
`

// auditCommand reads the audit log in the database.
func auditCommand(ctx context.Context, args []string, out, errOut io.Writer) error {
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch verb {
	case "verify":
		return auditVerify(ctx, args[1:], out, errOut)
	case "list":
		return auditList(ctx, args[1:], out, errOut)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(errOut, auditUsage)
		return flag.ErrHelp
	}
	fmt.Fprint(errOut, auditUsage)
	return &failure{2, fmt.Errorf("there is no command %q; it is verify or list", verb)}
}

// auditConfig reads the settings, with the flags of one command.
func auditConfig(verb string, args []string, errOut io.Writer, flags func(*flag.FlagSet)) (keyreel.Config, error) {
	c, err := keyreel.LoadConfig("audit "+verb, args, os.Environ(), errOut, flags)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		err = &failure{2, err}
	}
	return c, err
}

func auditVerify(ctx context.Context, args []string, out, errOut io.Writer) error {
	var head string
	config, err := auditConfig("verify", args, errOut, func(fs *flag.FlagSet) {
		fs.StringVar(&head, "head", "", "head that an earlier verify has printed, which the chain must still hold")
	})
	if err != nil {
		return err
	}
	chain, err := keyreel.VerifyAudit(ctx, config, head)
	switch {
	case errors.Is(err, keyreel.ErrAuditBroken):
		return err
	case err != nil:
		return &failure{2, err}
	}
	fmt.Fprintf(out, "the audit chain is whole\n  records  %d\n", chain.Head.Seq)
	if chain.Head.Seq > 0 {
		fmt.Fprintf(out, "  first    %s\n  last     %s\n", chain.First.Format(time.RFC3339Nano), chain.Last.Format(time.RFC3339Nano))
	}
	fmt.Fprintf(out, "  head     %s\n", chain.Head)
	return nil
}

func auditList(ctx context.Context, args []string, out, errOut io.Writer) error {
	var f keyreel.AuditFilter
	var since time.Duration
	config, err := auditConfig("list", args, errOut, func(fs *flag.FlagSet) {
		fs.DurationVar(&since, "since", 24*time.Hour, "how far back; 0 is the beginning")
		fs.StringVar(&f.Principal, "principal", "", "object id of who acted")
		fs.StringVar(&f.Resource, "resource", "", "ARM ID of what was acted on, or of what it lies below")
		fs.StringVar(&f.Operation, "operation", "", "name of the operation")
	})
	if err != nil {
		return err
	}
	if since > 0 {
		f.Since = time.Now().Add(-since)
	}
	lines := json.NewEncoder(out)
	for {
		records, err := keyreel.ReadAudit(ctx, config, f)
		if err != nil {
			return &failure{2, err}
		}
		if len(records) == 0 {
			return nil
		}
		for _, r := range records {
			if err := lines.Encode(r); err != nil {
				return err
			}
		}
		f.After = records[len(records)-1].Seq
	}
}
