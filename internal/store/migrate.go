package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// migration is one file of a schema, in the database's dialect.
type migration struct {
	number   int
	name     string
	checksum string // SHA-256, hex
	sql      string
}

var migrationName = regexp.MustCompile(`^(\d{4})_([a-z0-9_]+)\.(sqlite|postgres)\.sql$`)

// migrations reads a schema's files and checks that both dialects have the same ones, without a gap.
func migrations(schema Schema, dialect string) ([]migration, error) {
	var mine []migration
	numbers := map[string][]string{} // dialect -> NNNN_name
	err := fs.WalkDir(schema.FS, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(file) != ".sql" {
			return err
		}
		m := migrationName.FindStringSubmatch(path.Base(file))
		if m == nil {
			return fmt.Errorf("file %s: name it NNNN_name.sqlite.sql or NNNN_name.postgres.sql", file)
		}
		numbers[m[3]] = append(numbers[m[3]], m[1]+"_"+m[2])
		if m[3] != dialect {
			return nil
		}
		text, err := fs.ReadFile(schema.FS, file)
		if err != nil {
			return err
		}
		number, _ := strconv.Atoi(m[1]) // four digits
		// A checkout on Windows may have other line ends.
		sql := strings.ReplaceAll(string(text), "\r\n", "\n")
		sum := sha256.Sum256([]byte(sql))
		mine = append(mine, migration{number: number, name: m[2], checksum: hex.EncodeToString(sum[:]), sql: sql})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(numbers["sqlite"])
	slices.Sort(numbers["postgres"])
	if !slices.Equal(numbers["sqlite"], numbers["postgres"]) {
		return nil, fmt.Errorf("SQLite has the files %v, PostgreSQL %v: they must be the same", numbers["sqlite"], numbers["postgres"])
	}
	slices.SortFunc(mine, func(a, b migration) int { return cmp.Compare(a.number, b.number) })
	for i, m := range mine {
		if m.number != i+1 {
			return nil, fmt.Errorf("file %04d_%s: number %04d is missing or there twice", m.number, m.name, i+1)
		}
	}
	return mine, nil
}

const migrationTable = `CREATE TABLE IF NOT EXISTS store_migrations (
	schema   TEXT   NOT NULL,
	number   BIGINT NOT NULL,
	name     TEXT   NOT NULL,
	checksum TEXT   NOT NULL,
	applied  BIGINT NOT NULL,
	PRIMARY KEY (schema, number)
)`

// migrate applies what is missing, all in one transaction: after a crash the database is as before or up to date.
func migrate(ctx context.Context, e engine, schemas []Schema, log *slog.Logger) error {
	known := map[string][]migration{}
	for _, schema := range schemas {
		if _, ok := known[schema.Name]; ok {
			return fmt.Errorf("schema %q is given twice", schema.Name)
		}
		m, err := migrations(schema, e.dialect())
		if err != nil {
			return fmt.Errorf("reading schema %q: %w", schema.Name, err)
		}
		known[schema.Name] = m
	}
	return e.migrate(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, migrationTable); err != nil {
			return fmt.Errorf("creating store_migrations: %w", err)
		}
		applied, err := appliedMigrations(ctx, tx, known)
		if err != nil {
			return err
		}
		for _, schema := range schemas {
			for _, m := range known[schema.Name][applied[schema.Name]:] {
				if _, err := tx.Exec(ctx, m.sql); err != nil {
					return fmt.Errorf("applying %s %04d_%s: %w", schema.Name, m.number, m.name, err)
				}
				if _, err := tx.Exec(ctx, `INSERT INTO store_migrations (schema, number, name, checksum, applied)
					VALUES ($1, $2, $3, $4, $5)`, schema.Name, m.number, m.name, m.checksum, Micros(time.Now())); err != nil {
					return fmt.Errorf("recording %s %04d_%s: %w", schema.Name, m.number, m.name, err)
				}
				log.DebugContext(ctx, "schema applied", "schema", schema.Name, "number", m.number, "name", m.name)
			}
		}
		return nil
	})
}

// appliedMigrations returns how many files of each schema are in the database, having compared them.
func appliedMigrations(ctx context.Context, tx *Tx, known map[string][]migration) (map[string]int, error) {
	rows, err := tx.Query(ctx, "SELECT schema, number, name, checksum FROM store_migrations ORDER BY schema, number")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	applied := map[string]int{}
	for rows.Next() {
		var schema string
		var m migration
		if err := rows.Scan(&schema, &m.number, &m.name, &m.checksum); err != nil {
			return nil, err
		}
		files := known[schema]
		if m.number > len(files) {
			return nil, fmt.Errorf("database has %s %04d_%s, which this program does not know: run a newer version",
				schema, m.number, m.name)
		}
		if files[m.number-1].checksum != m.checksum {
			return nil, fmt.Errorf("%s %04d_%s has changed since it was applied: restore the file, and put the change in a new one",
				schema, m.number, m.name)
		}
		applied[schema] = m.number
	}
	return applied, rows.Err()
}
