package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// server is the one PostgreSQL of the test binary: the URL of a superuser's connection to it.
var server = sync.OnceValues(func() (string, error) {
	if url := os.Getenv("TEST_KEYREEL_POSTGRES"); url != "" {
		return url, nil
	}
	return startPostgres()
})

// PostgresURL returns the URL of a new and empty PostgreSQL database, which is dropped when the test ends.
func PostgresURL(t testing.TB) string {
	t.Helper()
	admin, err := server()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("TEST_KEYREEL_POSTGRES: %v", err)
	}
	name := "keyreel_" + strings.ToLower(rand.Text())
	run(t, admin, `CREATE DATABASE `+name+` TEMPLATE template0 ENCODING 'UTF8'`)
	t.Cleanup(func() { run(t, admin, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u.Path = "/" + name
	return u.String()
}

func run(t testing.TB, url, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err == nil {
		_, err = db.ExecContext(context.Background(), statement) // t's context has ended during cleanup
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// keeper starts the server and stops it when its standard input ends.
const keeper = `"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c full_page_writes=off \
	-c max_connections=300 -c shared_buffers=32MB -c max_wal_size=256MB >"$2/log" 2>&1 &
read -r _
kill -QUIT $!
wait
rm -rf "$2"`

// startPostgres makes a cluster in a temporary folder and starts it.
func startPostgres() (string, error) {
	bin, err := postgresBin()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("/tmp", "kr-pg-") // a socket's path is at most 107 bytes long
	if err != nil {
		return "", err
	}
	attr, err := unprivileged(dir)
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres",
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(dir))
	}
	sh := exec.Command("/bin/sh", "-c", keeper, "sh", bin, dir)
	sh.Dir, sh.SysProcAttr = dir, attr
	// The pipe's writing end stays open as long as this process lives, and no other child inherits it.
	if _, err := sh.StdinPipe(); err != nil {
		return "", err
	}
	if err := sh.Start(); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	go sh.Wait() // also keeps the pipe from being closed as garbage
	url := "postgres:///postgres?user=postgres&host=" + url.QueryEscape(dir)
	if err := answers(url); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return "", fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, log)
	}
	return url, nil
}

func answers(url string) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer db.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err = db.Ping(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// postgresBin returns the folder of the newest installed PostgreSQL.
func postgresBin() (string, error) {
	var best string
	var newest float64
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is valid
	for _, path := range found {
		bin := filepath.Dir(path)
		version, err := strconv.ParseFloat(filepath.Base(filepath.Dir(bin)), 64)
		if err == nil && version > newest {
			best, newest = bin, version
		}
	}
	if best != "" {
		return best, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", errors.New("this test needs PostgreSQL: run 'apt-get install -y postgresql', or set TEST_KEYREEL_POSTGRES " +
		"to the URL of a superuser's connection")
}
