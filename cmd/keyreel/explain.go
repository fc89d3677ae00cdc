package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/keyreel/keyreel"
)

const explainUsage = `usage: keyreel explain --principal WHO --action ACTION --scope SCOPE [--data-action] [--json] [--data FOLDER]

Says whether somebody may do something somewhere, and why: by which role, assignment and group, or what would be missing
and the command that grants it. It asks the running server, as its administrator.

WHO is an object id, an application's client id, a user's name (ada@example.org), a display name, or the ARM ID of an
identity or of a resource that has one. Vaults with access policies decide by these, not by roles.

Exit status: 0 allowed, 1 not allowed, 2 it could not be asked.

  keyreel explain --principal worker --data-action --scope /subscriptions/.../storageAccounts/films \
    --action Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read

`

// question is what explain is asked.
type question struct {
	who, action, scope string
	data               bool
}

// explained is the server's answer to one action (POST {scope}/providers/Microsoft.Authorization/explain).
type explained struct {
	AccessDecision string   `json:"accessDecision"`
	Reason         string   `json:"reason"`
	Roles          []string `json:"rolesThatWould"`
	RoleAssignment *struct {
		ID          string `json:"id"`
		PrincipalID string `json:"principalId"`
		Scope       string `json:"scope"`
		Condition   string `json:"condition"`
	} `json:"roleAssignment"`
	DenyAssignment *struct {
		ID    string `json:"id"`
		Name  string `json:"denyAssignmentName"`
		Scope string `json:"scope"`
	} `json:"denyAssignment"`
	Considered []struct {
		ID          string `json:"id"`
		Scope       string `json:"scope"`
		PrincipalID string `json:"principalId"`
		RoleName    string `json:"roleName"`
		Condition   string `json:"condition"`
		Outcome     string `json:"outcome"`
		Why         string `json:"why"`
	} `json:"considered"`
}

func explain(ctx context.Context, args []string, out, errOut io.Writer) error {
	var q question
	var asJSON bool
	fs := flag.NewFlagSet("explain", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.Usage = func() {
		fmt.Fprint(errOut, explainUsage)
		fs.PrintDefaults()
	}
	data := fs.String("data", keyreel.DefaultConfig().Data, "data folder of the running server")
	fs.StringVar(&q.who, "principal", "", "who")
	fs.StringVar(&q.action, "action", "", "what, e.g. Microsoft.KeyVault/vaults/read")
	fs.StringVar(&q.scope, "scope", "", "where: an ARM ID, or / for the tenant")
	fs.BoolVar(&q.data, "data-action", false, "the action is one on data, which a role's dataActions hold")
	fs.BoolVar(&asJSON, "json", false, "print the server's answer")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return &failure{2, err}
	}
	switch {
	case fs.NArg() > 0:
		return &failure{2, fmt.Errorf("keyreel explain takes no argument: %q", fs.Arg(0))}
	case q.who == "" || q.action == "" || q.scope == "":
		return &failure{2, errors.New("--principal, --action and --scope are needed")}
	case !strings.HasPrefix(q.scope, "/"):
		return &failure{2, fmt.Errorf("--scope %s is not an ARM ID; it begins with /", q.scope)}
	}
	allowed, err := q.ask(ctx, *data, asJSON, out)
	switch {
	case err != nil:
		return &failure{2, err}
	case !allowed:
		return &failure{code: 1}
	}
	return nil
}

// ask puts the question to the server and prints the answer.
func (q *question) ask(ctx context.Context, data string, asJSON bool, out io.Writer) (allowed bool, err error) {
	a, err := newAdministrator(data)
	if err != nil {
		return false, err
	}
	who, err := a.principal(ctx, q.who)
	if err != nil {
		return false, err
	}
	action := func(data bool) map[string]any { return map[string]any{"Id": q.action, "IsDataAction": data} }
	var answer struct {
		Value []json.RawMessage `json:"value"`
	}
	err = a.call(ctx, http.MethodPost, strings.TrimSuffix(q.scope, "/")+"/providers/Microsoft.Authorization/explain?api-version=2018-09-01-preview",
		map[string]any{
			"Subject": map[string]any{"Attributes": map[string]any{"ObjectId": who.ID}},
			"Actions": []any{action(q.data), action(!q.data)},
		}, &answer)
	if err != nil {
		return false, err
	}
	var both [2]explained
	for i := range both {
		if len(answer.Value) != len(both) {
			return false, fmt.Errorf("the server answered %d of %d questions", len(answer.Value), len(both))
		}
		if err := json.Unmarshal(answer.Value[i], &both[i]); err != nil {
			return false, fmt.Errorf("reading the server's answer: %w", err)
		}
	}
	e := &both[0]
	if asJSON {
		lines := json.NewEncoder(out)
		lines.SetIndent("", "  ")
		err := lines.Encode(map[string]any{"principal": who, "explanation": answer.Value[0]})
		return e.AccessDecision == "Allowed", err
	}
	q.print(out, who, e, len(both[1].Roles) > 0 || both[1].AccessDecision == "Allowed", func(id string) string { return a.through(ctx, who, id) })
	return e.AccessDecision == "Allowed", nil
}

// through says of an assignment to another principal than the one asked about that it comes by a group.
func (a *administrator) through(ctx context.Context, who principal, id string) string {
	if strings.EqualFold(id, who.ID) {
		return ""
	}
	group, err := a.object(ctx, id)
	if err != nil {
		return ", through group " + id
	}
	return fmt.Sprintf(", through group '%s' (%s)", group.Name, id)
}

// print tells a person. other is whether the action has roles as the other kind of action.
func (q *question) print(out io.Writer, who principal, e *explained, other bool, through func(id string) string) {
	verdict := map[string]string{"Allowed": "ALLOWED", "Denied": "DENIED by a deny assignment"}[e.AccessDecision]
	if verdict == "" {
		verdict = "NOT ALLOWED"
	}
	fmt.Fprintf(out, "%s\n  principal   %s '%s' (%s)\n  action      %s\n  scope       %s\n  reason      %s\n", verdict, who.Type, who.Name, who.ID, q.action, q.scope, e.Reason)
	switch {
	case e.RoleAssignment != nil:
		fmt.Fprintf(out, "  assignment  %s%s\n", e.RoleAssignment.ID, through(e.RoleAssignment.PrincipalID))
		if e.RoleAssignment.Condition != "" {
			fmt.Fprintf(out, "  condition   %s\n", e.RoleAssignment.Condition)
		}
	case e.DenyAssignment != nil:
		fmt.Fprintf(out, "  assignment  %s\nNo role helps against it: whoever may change it has to exclude the principal or remove it.\n", e.DenyAssignment.ID)
	case len(e.Roles) > 0:
		fmt.Fprintf(out, "Built-in roles that would allow it, the narrowest first: %s\nTo grant it:\n"+
			"  az role assignment create --assignee-object-id %s --assignee-principal-type %s --role %q --scope %s\n",
			strings.Join(e.Roles, ", "), who.ID, who.Type, e.Roles[0], q.scope)
	case other && q.data:
		fmt.Fprintln(out, "No built-in role holds it as a data action, but as an action one does: ask without --data-action.")
	case other:
		fmt.Fprintln(out, "No built-in role holds it as an action, but as a data action one does: ask with --data-action.")
	default:
		fmt.Fprintln(out, "No built-in role holds it: check its spelling, or make a custom role.")
	}
	if len(e.Considered) == 0 || e.AccessDecision == "Allowed" {
		return
	}
	fmt.Fprintln(out, "Assignments that were looked at:")
	for _, c := range e.Considered {
		via := ""
		if c.PrincipalID != "" {
			via = through(c.PrincipalID)
		}
		fmt.Fprintf(out, "  at %s%s: %s\n", c.Scope, via, c.Why)
		if c.Condition != "" && c.Outcome == "ConditionNotMet" {
			fmt.Fprintf(out, "    condition: %s\n", c.Condition)
		}
	}
}
