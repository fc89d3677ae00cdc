package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// lockFile makes path, if need be, and opens it so that nobody else can until it is closed or the process ends.
func lockFile(path string) (io.Closer, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	const sharingViolation = syscall.Errno(32)
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS,
		syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, sharingViolation) {
		err = errors.New("another process has the database open: stop it first, or use PostgreSQL for several nodes")
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return os.NewFile(uintptr(h), path), nil
}

// syncDir does nothing: Windows keeps a folder's names in its journal.
func syncDir(string) error { return nil }
