package seal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestFileRoot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "root.key")
	made, err := FileRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	read, err := FileRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	checkSameRoot(t, made, read)
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("files left behind: %v", entries)
	}
	another, err := FileRoot(path + ".other")
	if err != nil {
		t.Fatal(err)
	}
	wrapped, _ := made.Wrap(t.Context(), Key{7})
	if _, err := another.Unwrap(t.Context(), wrapped); !errors.Is(err, ErrCorrupt) || another.ID() == made.ID() {
		t.Errorf("another root %s unwraps what %s wrapped: %v", another.ID(), made.ID(), err)
	}
}

func checkSameRoot(t *testing.T, a, b Root) {
	t.Helper()
	if a.ID() != b.ID() || a.ID() == "" {
		t.Errorf("ids are %q and %q", a.ID(), b.ID())
	}
	wrapped, err := a.Wrap(context.Background(), Key{7})
	if err != nil {
		t.Fatal(err)
	}
	if key, err := b.Unwrap(context.Background(), wrapped); err != nil || key != (Key{7}) {
		t.Errorf("what one wraps the other does not unwrap: %v", err)
	}
	wrapped[5] ^= 1
	if _, err := b.Unwrap(context.Background(), wrapped); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a changed key unwraps: %v", err)
	}
}

func TestFileRootIsMadeOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "root.key")
	roots := make([]Root, 8)
	var wg sync.WaitGroup
	for i := range roots {
		wg.Go(func() {
			var err error
			if roots[i], err = FileRoot(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range roots {
		if r == nil || r.ID() != roots[0].ID() {
			t.Fatalf("roots differ: %v", roots)
		}
	}
}

func TestFileRootRefuses(t *testing.T) {
	t.Parallel()
	good := filepath.Join(t.TempDir(), "good")
	if _, err := FileRoot(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"group may read", string(text), 0o640, "chmod 600"},
		{"others may read", string(text), 0o604, "chmod 600"},
		{"others may write", string(text), 0o602, "chmod 600"},
		{"empty", "", 0o600, "damaged"},
		{"cut", string(text[:40]), 0o600, "damaged"},
		{"without prefix", string(text[len(rootFilePrefix):]), 0o600, "damaged"},
		{"something else", "-----BEGIN PRIVATE KEY-----", 0o600, "damaged"},
		{"short key", rootFilePrefix + "AAAA", 0o600, "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "root.key")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := FileRoot(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("opened: %v", err)
			}
			if key := strings.TrimSpace(string(text[len(rootFilePrefix):])); strings.Contains(err.Error(), key) {
				t.Errorf("the error holds the key: %v", err)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != tt.text {
				t.Errorf("the file was changed to %q, %v", now, err)
			}
		})
	}
	if _, err := FileRoot(filepath.Join(t.TempDir(), "missing", "root.key")); err == nil {
		t.Error("made a file in a missing directory")
	}
}

func TestPassphraseRoot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "passphrase.json")
	made, err := PassphraseRoot(path, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	read, err := PassphraseRoot(path, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	checkSameRoot(t, made, read)
	if _, err := PassphraseRoot(path, "battery staple"); err == nil || !strings.Contains(err.Error(), "passphrase is not the one") {
		t.Errorf("another passphrase: %v", err)
	}
	if _, err := PassphraseRoot(path, ""); err == nil {
		t.Error("took an empty passphrase")
	}
	if other, err := PassphraseRoot(path+".other", "correct horse"); err != nil || other.ID() == made.ID() {
		t.Errorf("another salt gives the same root: %v", err)
	}
}

func TestPassphraseRootRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"not JSON", "x", "damaged"},
		{"another function", `{"kdf":"pbkdf2"}`, "pbkdf2"},
		{"no passes", `{"kdf":"argon2id","time":0,"memoryKiB":65536,"threads":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}`, "time"},
		{"no memory", `{"kdf":"argon2id","time":1,"memoryKiB":1,"threads":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}`, "memoryKiB"},
		{"all memory", `{"kdf":"argon2id","time":1,"memoryKiB":4294967295,"threads":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}`, "memoryKiB"},
		{"no lanes", `{"kdf":"argon2id","time":1,"memoryKiB":65536,"threads":0,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}`, "threads"},
		{"short salt", `{"kdf":"argon2id","time":1,"memoryKiB":65536,"threads":1,"salt":"AAAA"}`, "salt"},
		{"no check", `{"kdf":"argon2id","time":1,"memoryKiB":8192,"threads":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}`, "not the one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "passphrase.json")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := PassphraseRoot(path, "p"); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}
