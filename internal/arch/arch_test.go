// Package arch holds the import table of the project and nothing else.
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/keyreel/keyreel"

// ground is what every package may import: it knows nothing of the domain.
var ground = []string{"internal/azure", "internal/durable"}

// storage is what services keep their state in.
var storage = []string{"internal/store", "internal/object", "internal/seal"}

// records is what services decide, queue and account with, and what `keyreel check` has them report.
var records = []string{"internal/rbac", "internal/job", "internal/audit", "internal/examine"}

// allowed lists, for each package, what it may import of the project beside ground. A package that is not listed may
// not exist. Test-only packages (storetest, objecttest, keyreeltest) may be imported by every test.
var allowed = map[string][]string{
	"cmd/keyreel": {"."},
	"keyreeltest": {"."},
	".": join(storage, records, "internal/front", "internal/media", "internal/blob", "internal/keyvault", "internal/arm",
		"internal/authority", "internal/directory", "internal/onbehalf", "internal/outbound", "internal/customerkey", "internal/events"),

	"internal/front":     nil,
	"internal/media":     join(storage, records, "internal/media/encode", "internal/media/stream", "internal/customerkey", "internal/onbehalf", "internal/arm"),
	"internal/blob":      join(storage, records, "internal/customerkey", "internal/onbehalf", "internal/arm"),
	"internal/keyvault":  join(storage, records, "internal/keyvault/material", "internal/arm", "internal/rowcache", "internal/events"),
	"internal/authority": join(storage, records, "internal/directory", "internal/arm", "internal/rowcache", "internal/outbound"),
	"internal/directory": join(storage, records, "internal/arm", "internal/rowcache"),

	"internal/keyvault/material":   {"internal/keyvault/keywrap"},
	"internal/keyvault/keywrap":    nil,
	"internal/keyvault/wycheproof": nil,

	"internal/media/encode": {"internal/media/stream"},
	"internal/media/stream": nil,
	"internal/customerkey":  join(storage, records, "internal/onbehalf"),
	"internal/onbehalf":     {"internal/outbound"},
	"internal/events":       join(storage, records, "internal/arm"),
	"internal/arm":          join(storage, records, "internal/arm/template"),
	"internal/arm/template": nil,
	"internal/rbac":         join(storage, nil, "internal/rowcache"),
	"internal/job":          storage,
	"internal/audit":        storage,
	"internal/examine":      {"internal/store"},

	"internal/rowcache":          {"internal/store"},
	"internal/seal":              {"internal/store"},
	"internal/outbound":          nil,
	"internal/object":            nil,
	"internal/object/objecttest": {"internal/object"},
	"internal/store":             nil,
	"internal/store/storetest":   {"internal/store"},
	"internal/azure":             nil,
	"internal/durable":           nil,
	"internal/arch":              nil,
}

func join(a, b []string, more ...string) []string { return slices.Concat(a, b, more) }

var testOnly = []string{"internal/store/storetest", "internal/object/objecttest", "internal/keyvault/wycheproof", "keyreeltest"}

// TestImports parses every file's imports itself, so that no cached answer of the go command can hide a new one.
func TestImports(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || hasGoMod(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		files++
		checkFile(t, root, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Fatalf("only %d files were found", files)
	}
}

func hasGoMod(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func checkFile(t *testing.T, root, path string) {
	t.Helper()
	rel, err := filepath.Rel(root, path)
	if err != nil {
		t.Fatal(err)
	}
	pkg := filepath.ToSlash(filepath.Dir(rel))
	list, known := allowed[pkg]
	if !known {
		t.Errorf("%s: package %s is not in the import table", rel, pkg)
		return
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	isTest := strings.HasSuffix(path, "_test.go")
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		target, ok := strings.CutPrefix(imp, module)
		if !ok {
			continue
		}
		if target = strings.TrimPrefix(target, "/"); target == "" {
			target = "."
		}
		switch {
		case target == pkg, slices.Contains(ground, target), slices.Contains(list, target):
		case isTest && slices.Contains(testOnly, target):
		default:
			t.Errorf("%s imports %s, which the table does not allow", rel, target)
		}
	}
}
