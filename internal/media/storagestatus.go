package media

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyreel/keyreel/internal/arm"
	"github.com/keyreel/keyreel/internal/audit"
	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/store"
)

// record is what the audit tells of a mapping; an empty code is access.
func (t storageTarget) record(operation, code, detail string) audit.Record {
	r := audit.Record{
		Category: "Media", Operation: operation, Result: "Success", Resource: t.account, Principal: t.identity.PrincipalID,
		Identity: t.identity.IdentityID, Details: map[string]string{"storage": t.storage},
	}
	if code != "" {
		r.Result, r.Reason = "Failure", code+": "+detail
	}
	return r
}

// storeStatus stores what is to be shown of a storage mapping, and records a change before; an empty code is
// "Connected".
func (s *Service) storeStatus(ctx context.Context, t storageTarget, code, detail string) error {
	var was string
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		was = ""
		err := tx.QueryRow(ctx, `SELECT code FROM media_storage WHERE account = $1 AND storage = $2`, t.account, t.storage).Scan(&was)
		if isNoRows(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the status of %s: %w", t.storage, err)
	}
	if was == code {
		return nil
	}
	operation := "StorageAccount.Accessible"
	if code != "" {
		operation = "StorageAccount.Inaccessible"
	}
	if err := s.o.Audit.Append(ctx, t.record(operation, code, detail)); err != nil {
		return fmt.Errorf("recording the status of %s: %w", t.storage, err)
	}
	err = s.o.DB.Update(ctx, func(tx *store.Tx) error {
		if code == "" {
			_, err := tx.Exec(ctx, `DELETE FROM media_storage WHERE account = $1 AND storage = $2`, t.account, t.storage)
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO media_storage (account, storage, code, detail, since) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (account, storage) DO UPDATE SET code = excluded.code, detail = excluded.detail, since = excluded.since`,
			t.account, t.storage, code, detail, store.Micros(time.Now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("storing the status of %s: %w", t.storage, err)
	}
	return nil
}

// showStorageStatus fills the status of the account's storage mappings.
func (s *Service) showStorageStatus(ctx context.Context, tx *store.Tx, a *account) error {
	problems := map[string]string{}
	rows, err := tx.Query(ctx, `SELECT storage, code, detail FROM media_storage WHERE account = $1`, a.key())
	if err != nil {
		return fmt.Errorf("reading the storage status of %s: %w", a.Resource.ID, err)
	}
	defer rows.Close()
	for rows.Next() {
		var storage, code, detail string
		if err := rows.Scan(&storage, &code, &detail); err != nil {
			return err
		}
		problems[storage] = "Disconnected: " + code + ": " + detail
	}
	for i := range a.StorageAccounts {
		sa := &a.StorageAccounts[i]
		sa.Status = "Connected"
		if problem, ok := problems[strings.ToLower(sa.ID)]; ok {
			sa.Status = problem
		}
	}
	return rows.Err()
}

// watchStorage tries every storage mapping, so that status says what is.
func (s *Service) watchStorage(ctx context.Context) error {
	var accounts []*account
	err := s.o.DB.View(ctx, func(tx *store.Tx) error {
		accounts = nil
		list, err := s.o.Manager.List(ctx, tx, accountType, azure.ResourceID{Scope: "/"})
		if err != nil {
			return err
		}
		for _, res := range list {
			a, err := decodeAccount(res)
			if err != nil {
				return err
			}
			accounts = append(accounts, a)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing media accounts: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(watchAtOnce)
	var mu sync.Mutex
	var failures []error
	for _, a := range accounts {
		if a.Resource.State != arm.Succeeded {
			continue
		}
		for _, sa := range a.StorageAccounts {
			g.Go(func() error {
				if err := s.watchMapping(ctx, a, sa); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failures = append(failures, err)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // every failure stands in failures
	return errors.Join(failures...)
}

func (s *Service) watchMapping(ctx context.Context, a *account, sa storageAccount) error {
	t, err := s.mapping(a, sa)
	var bad *azure.Error
	if errors.As(err, &bad) { // the identity is gone from the account; using it says so
		return nil
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err = s.listContainers(ctx, t)
	if err == nil { // Reader may do that much
		err = s.mayRead(ctx, t, "probe")
	}
	err = s.access.observe(ctx, t, err)
	var p *storageProblem
	if errors.As(err, &p) || errors.As(err, &bad) { // there is no key to try it with
		return nil
	}
	return err
}
