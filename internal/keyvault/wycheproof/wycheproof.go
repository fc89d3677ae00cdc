// Package wycheproof gives tests the vectors of Project Wycheproof (github.com/C2SP/wycheproof, Apache-2.0): known answers,
// and inputs with which implementations have failed before.
//
// They come as the Go module that the project publishes, at one version whose sum is written here, and are read from the
// module cache. They are not imported: all of them together are embedded by that module, and would be a hundred megabytes of
// each test's binary.
package wycheproof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const (
	module = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
	sum    = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
)

// Verdicts on a vector.
const (
	Valid      = "valid"
	Invalid    = "invalid"
	Acceptable = "acceptable" // implementations differ
)

// Hex is bytes that are written in hexadecimal.
type Hex []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// Case is what every vector has. Vectors embed it.
type Case struct {
	ID      int      `json:"tcId"`
	Comment string   `json:"comment"`
	Flags   []string `json:"flags"`
	Result  string   `json:"result"` // Valid, Invalid, Acceptable
}

// directory is where the module lies; to ask for it takes the go command some tenths of a second.
var directory = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var m struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &m); err != nil || jsonErr != nil {
		return "", fmt.Errorf("go mod download %s: %v %s %s", module, err, m.Error, stderr.Bytes())
	}
	if m.Sum != sum {
		return "", fmt.Errorf("%s has the sum %s, not %s", module, m.Sum, sum)
	}
	return m.Dir, nil
})

// Load reads a file of vectors into v, a pointer to a struct with a field TestGroups.
func Load(t testing.TB, file string, v any) {
	t.Helper()
	dir, err := directory()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "testvectors_v1", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
