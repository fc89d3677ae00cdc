package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// tmpDir is where files are written before they have a name.
const tmpDir = "tmp"

// Dir keeps objects as files below a directory, two levels deep. It is safe for concurrent use.
type Dir struct {
	Path string

	// durable holds the directories whose own names this process has fsynced. A directory that is merely there may
	// have been made just before a crash.
	durable sync.Map
}

// OpenDir makes the directory when it is missing and removes what a crash left half written. A Put that another
// process has under way in the same directory fails.
func OpenDir(path string) (*Dir, error) {
	d := &Dir{Path: path}
	tmp := filepath.Join(path, tmpDir)
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("opening object directory: %w", err)
	}
	left, err := os.ReadDir(tmp)
	for _, f := range left {
		err = errors.Join(err, os.Remove(filepath.Join(tmp, f.Name())))
	}
	// The directory's own name is as worth keeping as what is in it.
	if err = errors.Join(err, syncDir(path), syncDir(filepath.Dir(path))); err != nil {
		return nil, fmt.Errorf("opening object directory: %w", err)
	}
	return d, nil
}

// place returns the two directories above an object's file, "ab" and "ab/c" for "abc...", and its file.
func (d *Dir) place(key string) (outer, inner, file string) {
	fan := strings.ReplaceAll(key[:3], ".", "_") // "." and ".." are no names for directories
	outer = filepath.Join(d.Path, fan[:2])
	inner = filepath.Join(outer, fan[2:])
	return outer, inner, filepath.Join(inner, key)
}

// Put implements Store. On a full disk it leaves nothing.
func (d *Dir) Put(ctx context.Context, key string, r io.Reader) (int64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	n, err := d.put(ctx, key, r)
	if err != nil {
		return 0, fmt.Errorf("putting object %s: %w", key, err)
	}
	return n, nil
}

func (d *Dir) put(ctx context.Context, key string, r io.Reader) (n int64, err error) {
	outer, inner, file := d.place(key)
	if _, err := os.Lstat(file); err == nil {
		return 0, ErrExists
	}
	tmp, err := os.CreateTemp(filepath.Join(d.Path, tmpDir), key+"-*") // mode 0600
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	n, err = io.Copy(contextWriter{ctx, tmp}, r)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return 0, err
	}
	for _, dir := range []string{outer, inner} {
		if err := d.makeDir(dir); err != nil {
			return 0, err
		}
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return 0, err
	}
	if err := syncDir(inner); err != nil {
		return 0, errors.Join(err, os.Remove(file))
	}
	return n, nil
}

// makeDir makes a directory and its name durable.
func (d *Dir) makeDir(dir string) error {
	if _, ok := d.durable.Load(dir); ok {
		return nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	d.durable.Store(dir, struct{}{})
	return nil
}

// contextWriter stops a copy when its context ends. It stands around the writer and not the reader, so that the
// reader's WriteTo is used.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// Open implements Store.
func (d *Dir) Open(_ context.Context, key string) (Reader, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	_, _, file := d.place(key)
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening object %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening object: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening object: %w", err), f.Close())
	}
	return fileReader{f, info.Size()}, nil
}

type fileReader struct {
	*os.File
	size int64
}

func (f fileReader) Size() int64 { return f.size }

// Delete implements Store.
func (d *Dir) Delete(_ context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	_, _, file := d.place(key)
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting object: %w", err)
	}
	return nil
}

// List implements Store. Files that are not objects are passed over.
func (d *Dir) List(ctx context.Context, fn func(Info) error) error {
	return filepath.WalkDir(d.Path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case err != nil:
			return fmt.Errorf("listing objects: %w", err)
		case entry.IsDir() && path == filepath.Join(d.Path, tmpDir):
			return fs.SkipDir
		case !entry.Type().IsRegular() || !d.isPlace(path):
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing objects: %w", err)
		}
		return fn(Info{Key: entry.Name(), Size: info.Size(), Written: info.ModTime()})
	})
}

// isPlace reports whether an object's file stands at path.
func (d *Dir) isPlace(path string) bool {
	key := filepath.Base(path)
	if !validKey(key) {
		return false
	}
	_, _, file := d.place(key)
	return file == path
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // has no such call; NTFS journals names
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
