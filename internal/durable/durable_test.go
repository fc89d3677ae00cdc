package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keyreel/keyreel/internal/durable"
)

func TestMakeDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 { // the second finds it there
		if err := durable.MakeDir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Stat(dir); err != nil || f.Mode() != os.ModeDir|0o700 {
			t.Fatalf("%v %v", f, err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := durable.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if err := durable.MakeDir(path, 0o700); err == nil {
			t.Errorf("%s: a file was taken for a directory", path)
		}
	}
}
