package storetest

import (
	"errors"
	"syscall"
)

func unprivileged(string) (*syscall.SysProcAttr, error) {
	return nil, errors.New("tests do not start PostgreSQL on Windows: set TEST_KEYREEL_POSTGRES to the URL of a superuser's connection")
}
