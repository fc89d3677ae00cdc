// Package durable writes files that survive power loss.
//
// A file appears whole or not at all: temporary file in the same directory, fsync, rename, fsync of the directory. A
// crash may leave a temporary file (".tmp-*"), never half a file under its name.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a file, in place of one that is there already. When it has returned nil the content and the name
// are on disk.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		tmp.Close()
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// MakeDir makes a directory and those above it that are missing. When it has returned nil their names are on disk. That of
// one that was there already is left to who made it, where the directory above may not be read.
func MakeDir(path string, mode fs.FileMode) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	above := filepath.Dir(path)
	err = os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrNotExist) && above != path {
		if err := MakeDir(above, mode); err != nil {
			return err
		}
		err = os.Mkdir(path, mode)
	}
	if there, _ := os.Stat(path); errors.Is(err, fs.ErrExist) && there != nil && there.IsDir() {
		if err := SyncDir(above); !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	return SyncDir(above)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
