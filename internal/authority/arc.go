package authority

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
)

// Azure Arc's protocol: a client proves that it may read files of a group, by showing what stands in one that was just
// written. Clients accept files of one folder only: /var/opt/azcmagent/tokens.
// https://learn.microsoft.com/azure/azure-arc/servers/managed-identity-authentication
const (
	arcPrefix  = "keyreel-"
	arcSuffix  = ".key"
	arcMode    = 0o640
	arcFor     = time.Minute // how long a key is good
	maxArcKeys = 64          // of a workload, at a time
)

// arcKeys are the keys that were written and not yet shown.
type arcKeys struct {
	dir  string
	mu   sync.Mutex
	keys map[[sha256.Size]byte]arcKey // by the hash of what stands in the file, so that looking one up tells nothing
}

type arcKey struct {
	workload string
	path     string
	expires  time.Time
}

// openArc removes what an earlier process left in the folder.
func openArc(dir string) (*arcKeys, error) {
	if dir == "" {
		return nil, nil
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the folder of Azure Arc's keys: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, arcPrefix+"*"+arcSuffix))
	if err != nil {
		return nil, fmt.Errorf("looking for old keys of Azure Arc: %w", err)
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing an old key of Azure Arc: %w", err)
		}
	}
	return &arcKeys{dir: dir, keys: map[[sha256.Size]byte]arcKey{}}, nil
}

// check lets a request pass that shows a key; to one that shows none it answers with the name of a new one.
func (k *arcKeys) check(r *http.Request, workload string) error {
	shownKey, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Basic ")
	if !ok {
		return k.challenge(workload)
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(shownKey)))
	k.mu.Lock()
	found, ok := k.keys[hash]
	if ok && found.workload == workload {
		k.forget(hash) // it is good once
	}
	k.mu.Unlock()
	if !ok || found.workload != workload || time.Now().After(found.expires) {
		return azure.Errorf(http.StatusUnauthorized, "unauthorized", "The key is not one that was written for this request, or it was used or has expired. Send a request without Authorization for a new one.")
	}
	return nil
}

func (k *arcKeys) challenge(workload string) error {
	k.purge(time.Now())
	var b [32]byte
	rand.Read(b[:])
	text := base64.RawURLEncoding.EncodeToString(b[:])
	path := filepath.Join(k.dir, arcPrefix+azure.NewGUID()+arcSuffix)
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, key := range k.keys {
		if key.workload == workload {
			n++
		}
	}
	if n >= maxArcKeys {
		return tooMany(arcFor)
	}
	// The mode is set after the file is made, because of the umask, and before it holds anything.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing a key for Azure Arc: %w", err)
	}
	if err = f.Chmod(arcMode); err == nil {
		_, err = f.WriteString(text)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("writing a key for Azure Arc: %w", err)
	}
	k.keys[sha256.Sum256([]byte(text))] = arcKey{workload: workload, path: path, expires: time.Now().Add(arcFor)}
	return azure.Errorf(http.StatusUnauthorized, "unauthorized", "Read the file that WWW-Authenticate names and send what it holds as Authorization: Basic.").
		WithHeader("Www-Authenticate", "Basic realm="+path)
}

// purge removes keys that have expired.
func (k *arcKeys) purge(now time.Time) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for hash, key := range k.keys {
		if now.After(key.expires) {
			k.forget(hash)
		}
	}
}

// close removes all keys.
func (k *arcKeys) close() { k.purge(time.Now().Add(2 * arcFor)) }

// forget takes a key back. A file that cannot be removed proves nothing any more.
func (k *arcKeys) forget(hash [sha256.Size]byte) {
	os.Remove(k.keys[hash].path)
	delete(k.keys, hash)
}
