package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreel/keyreel/keyreeltest"
)

// auditStatus runs `keyreel audit` and returns its exit status and all that it says.
func auditStatus(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	err := auditCommand(context.Background(), args, &out, &out)
	var failed *failure
	switch {
	case err == nil:
		return 0, out.String()
	case errors.As(err, &failed):
		return failed.code, out.String() + err.Error()
	}
	return 1, out.String() + err.Error()
}

// TestAuditVerify: the chain is verified while the server runs and when it does not, and every tampering is found.
func TestAuditVerify(t *testing.T) {
	t.Parallel()
	srv := keyreeltest.Start(t)
	data := filepath.Dir(srv.CAPath())
	r, err := newRunner(runOptions{data: data})
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(r.dir)
	if _, err := r.resolve(t.Context(), ""); err != nil { // makes an identity and gives it a role, all of which is on record
		t.Fatal(err)
	}
	code, out := auditStatus(t, "verify", "--data", data)
	running := regexp.MustCompile(`(?s)whole.*records +([1-9]\d*)\n.*first +\S+\n.*last +\S+\n.*head +(\S+)\n`).FindStringSubmatch(out)
	if code != 0 || running == nil {
		t.Fatalf("while the server runs: %d\n%s", code, out)
	}
	srv.Stop(t)()
	code, out = auditStatus(t, "verify", "--data", data, "--head", running[2])
	stopped := regexp.MustCompile(`head +(\S+)\n`).FindStringSubmatch(out)
	if code != 0 || stopped == nil {
		t.Fatalf("when it does not: %d\n%s", code, out)
	}

	code, out = auditStatus(t, "list", "--data", data, "--since", "1h", "--resource", "/subscriptions/"+srv.SubscriptionID())
	var record struct {
		Seq    int64  `json:"seq"`
		Hash   string `json:"hash"`
		Result string `json:"result"`
	}
	if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &record); err != nil || code != 0 || record.Seq == 0 || record.Result == "" {
		t.Errorf("list: %d %v\n%s", code, err, out)
	}

	database, err := sql.Open("sqlite", filepath.Join(data, "keyreel.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	exec := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := database.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	exec(`CREATE TABLE good_records AS SELECT * FROM audit_records`, `CREATE TABLE good_head AS SELECT * FROM audit_head`)
	for _, tt := range []struct {
		name, want string
		sql        []string
		args       []string
	}{
		{"a record changed", "record 2 was changed", []string{`UPDATE audit_records SET body = replace(body, '"seq":2,', '"seq":2, ') WHERE seq = 2`}, nil},
		{"a record removed", "record 2 is missing", []string{`DELETE FROM audit_records WHERE seq = 2`}, nil},
		{"records swapped", "record 3 stands in the place of record 2", []string{
			`UPDATE audit_records SET seq = 9999 WHERE seq = 2`, `UPDATE audit_records SET seq = 2 WHERE seq = 3`, `UPDATE audit_records SET seq = 3 WHERE seq = 9999`,
		}, nil},
		{"the end cut off", "is missing, and all after it", []string{`DELETE FROM audit_records WHERE seq = (SELECT max(seq) FROM audit_records)`}, nil},
		{"the end cut off with the head", "its end was cut off", []string{
			`DELETE FROM audit_records WHERE seq > 1`, `UPDATE audit_head SET seq = 1, hash = (SELECT hash FROM audit_records WHERE seq = 1)`,
		}, []string{"--head", stopped[1]}},
	} {
		exec(tt.sql...)
		if code, out := auditStatus(t, append([]string{"verify", "--data", data}, tt.args...)...); code != 1 || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %d\n%s", tt.name, code, out)
		}
		exec(`DELETE FROM audit_records`, `INSERT INTO audit_records SELECT * FROM good_records`, `DELETE FROM audit_head`, `INSERT INTO audit_head SELECT * FROM good_head`)
	}
}

func TestAuditRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"nothing":           {nil, "verify or list"},
		"another command":   {[]string{"erase"}, `"erase"`},
		"no database":       {[]string{"verify", "--data", t.TempDir()}, "keyreel.db"},
		"list of nothing":   {[]string{"list", "--data", t.TempDir()}, "keyreel.db"},
		"an unknown flag":   {[]string{"verify", "--daat", "x"}, "daat"},
		"an argument":       {[]string{"verify", "now"}, "now"},
		"a head that isn't": {[]string{"verify", "--data", t.TempDir(), "--head", "1"}, "not the head"},
	} {
		if code, out := auditStatus(t, tt.args...); code != 2 || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %d\n%s", name, code, out)
		}
	}
}
