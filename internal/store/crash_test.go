package store_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/keyreel/keyreel/internal/store"
	"github.com/keyreel/keyreel/internal/store/storetest"
)

const crashURL = "KEYREEL_TEST_CRASH_URL"

// TestCrash kills a process in the middle of its commits and finds every update that it had acknowledged.
func TestCrash(t *testing.T) {
	if url := os.Getenv(crashURL); url != "" {
		crashChild(t, url)
		return
	}
	t.Parallel()
	storetest.EachURL(t, func(t *testing.T, url string) {
		acknowledged := map[string]bool{}
		for round := range 4 {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrash$", "-test.v")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", crashURL, url), fmt.Sprintf("KEYREEL_TEST_ROUND=%d", round))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			before := len(acknowledged)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				name, ok := strings.CutPrefix(lines.Text(), "done ")
				if !ok {
					continue
				}
				acknowledged[name] = true
				if len(acknowledged) == before+100+37*round {
					if err := cmd.Process.Kill(); err != nil { // SIGKILL
						t.Fatal(err)
					}
				}
			}
			_ = cmd.Wait() // killed
			if len(acknowledged) < before+100 {
				t.Fatalf("round %d: the child acknowledged %d updates only", round, len(acknowledged)-before)
			}

			db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{items}})
			if err != nil {
				t.Fatal(err)
			}
			found := read(t, db)
			for name := range acknowledged {
				if found[name] != 2 {
					t.Errorf("round %d: acknowledged %s is %d, want 2", round, name, found[name])
				}
			}
			for name, n := range found {
				if n != 2 {
					t.Errorf("round %d: %s is %d: half of a transaction", round, name, n)
				}
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// crashChild prints the name of each item whose update has been acknowledged, until it is killed.
func crashChild(t *testing.T, url string) {
	db, err := store.Open(t.Context(), store.Options{URL: url, Schemas: []store.Schema{items}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s.%d.%d", os.Getenv("KEYREEL_TEST_ROUND"), g, i)
				err := db.Update(ctx, func(tx *store.Tx) error {
					if _, err := tx.Exec(ctx, "INSERT INTO item (name, n) VALUES ($1, 1)", name); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, "UPDATE item SET n = n + 1 WHERE name = $1", name)
					return err
				})
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				fmt.Printf("done %s\n", name)
			}
		})
	}
	wg.Wait()
}
