package object_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/keyreel/keyreel/internal/object"
	"github.com/keyreel/keyreel/internal/object/objecttest"
)

func openDir(t testing.TB) *object.Dir {
	t.Helper()
	d, err := object.OpenDir(filepath.Join(t.TempDir(), "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDir(t *testing.T) {
	t.Parallel()
	objecttest.Run(t, func(t *testing.T) object.Store { return openDir(t) })
}

func TestFaultyWithoutFaults(t *testing.T) {
	t.Parallel()
	objecttest.Run(t, func(t *testing.T) object.Store { return &objecttest.Faulty{Store: openDir(t)} })
}

func TestDirIsPrivate(t *testing.T) {
	t.Parallel()
	d := openDir(t)
	if _, err := d.Put(t.Context(), "abcdefgh", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(d.Path, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(d.Path, "ab", "c", "abcdefgh")); err != nil {
		t.Error(err)
	}
}

func TestDirLeavesNothingOfAFailedPut(t *testing.T) {
	t.Parallel()
	d := openDir(t)
	src := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("no space left on device")))
	if _, err := d.Put(t.Context(), "abcdefgh", src); err == nil {
		t.Fatal("put")
	}
	if left := files(t, d.Path); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func files(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestOpenDirRemovesHalfWrittenFiles(t *testing.T) {
	t.Parallel()
	d := openDir(t)
	if _, err := d.Put(t.Context(), "abcdefgh", strings.NewReader("whole")); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(d.Path, "tmp", "abcdefgi-123")
	if err := os.WriteFile(half, []byte("ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(t.Context(), "abcdefgi"); !errors.Is(err, object.ErrNotFound) {
		t.Errorf("opened half an object: %v", err)
	}
	again, err := object.OpenDir(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half is still there: %v", err)
	}
	r, err := again.Open(t.Context(), "abcdefgh")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Size() != 5 {
		t.Errorf("the whole has %d bytes", r.Size())
	}
}

func TestDirWithStrangeFiles(t *testing.T) {
	t.Parallel()
	d := openDir(t)
	for _, name := range []string{"README.md", "ab/c/xyzdefgh", "ab/c/short", "lost+found/x/abcdefgh"} {
		path := filepath.Join(d.Path, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.List(t.Context(), func(i object.Info) error {
		t.Errorf("listed %v", i)
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestDirThatCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := object.OpenDir(file); err == nil {
		t.Error("opened a file as a directory")
	}
}

func TestFaulty(t *testing.T) {
	t.Parallel()
	f := &objecttest.Faulty{Store: openDir(t)}
	f.Fail("Put", objecttest.NotApplied, objecttest.AnswerLost)
	f.Fail("ReadAt", 0, objecttest.NotApplied)
	for _, key := range []string{"object-1", "object-2"} {
		if _, err := f.Put(t.Context(), key, strings.NewReader("x")); !errors.Is(err, objecttest.ErrFault) {
			t.Errorf("Put(%s): %v", key, err)
		}
	}
	if _, err := f.Open(t.Context(), "object-1"); !errors.Is(err, object.ErrNotFound) {
		t.Errorf("what was not applied opens: %v", err)
	}
	r, err := f.Open(t.Context(), "object-2")
	if err != nil {
		t.Fatal("what was applied does not open:", err)
	}
	defer r.Close()
	for i, want := range []error{nil, objecttest.ErrFault, nil} {
		if _, err := r.ReadAt(make([]byte, 1), 0); !errors.Is(err, want) {
			t.Errorf("read %d: %v, want %v", i, err, want)
		}
	}
	f.Fail("Delete", objecttest.NotApplied, objecttest.AnswerLost)
	for i, want := range []error{nil, object.ErrNotFound} {
		if err := f.Delete(t.Context(), "object-2"); !errors.Is(err, objecttest.ErrFault) {
			t.Errorf("Delete: %v", err)
		}
		r, err := f.Open(t.Context(), "object-2")
		if !errors.Is(err, want) {
			t.Errorf("after fault %d: %v", i, err)
		}
		if err == nil {
			r.Close()
		}
	}
}

func BenchmarkDirPut(b *testing.B) {
	for _, size := range []int{64 << 10, 8 << 20} {
		b.Run(byteCount(size), func(b *testing.B) {
			d, data := openDir(b), make([]byte, size)
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				if _, err := d.Put(b.Context(), key(i), bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
