package seal

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Root wraps data keys with a key that lives outside the database.
type Root interface {
	ID() string // names the root key, so that a keyring knows which one wrapped what
	Wrap(ctx context.Context, key Key) ([]byte, error)
	Unwrap(ctx context.Context, wrapped []byte) (Key, error)
}

// keyRoot is a Root whose key is in memory.
type keyRoot struct {
	id  string
	key Key
}

// newKeyRoot names the root key by what HKDF makes of it, which tells nothing about the key.
func newKeyRoot(kind string, key Key) *keyRoot {
	return &keyRoot{id: kind + "-" + hex.EncodeToString(derive(key, "keyreel root key id", 8)), key: key}
}

func (r *keyRoot) ID() string { return r.id }

func (r *keyRoot) Wrap(_ context.Context, key Key) ([]byte, error) {
	return r.key.Seal(key[:], "keyreel data key", r.id), nil
}

func (r *keyRoot) Unwrap(_ context.Context, wrapped []byte) (Key, error) {
	plain, err := r.key.Open(wrapped, "keyreel data key", r.id)
	if err != nil {
		return Key{}, err
	}
	defer clear(plain)
	if len(plain) != len(Key{}) {
		return Key{}, fmt.Errorf("wrapped key has %d bytes, not %d: %w", len(plain), len(Key{}), ErrCorrupt)
	}
	return Key(plain), nil
}

func derive(key Key, purpose string, n int) []byte {
	out, err := hkdf.Key(sha256.New, key[:], nil, purpose, n)
	if err != nil {
		panic(err) // n is small
	}
	return out
}

// rootFilePrefix begins a root key file; the key follows in base64, on the same line.
const rootFilePrefix = "keyreel-root-key-1:"

// FileRoot reads a root key from a file with mode 0600, and makes one when the file is missing. A file that others
// may read is refused (except on Windows, where modes say nothing).
func FileRoot(path string) (Root, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := NewKey()
		text = []byte(rootFilePrefix + base64.StdEncoding.EncodeToString(key[:]) + "\n")
		key.Zero()
		text, err = createFile(path, text)
	}
	if err != nil {
		return nil, fmt.Errorf("opening root key file: %w", err)
	}
	defer clear(text)
	if err := checkMode(path); err != nil {
		return nil, err
	}
	encoded, ok := strings.CutPrefix(strings.TrimSpace(string(text)), rootFilePrefix)
	raw, err := base64.StdEncoding.DecodeString(encoded)
	defer clear(raw)
	if !ok || err != nil || len(raw) != len(Key{}) {
		return nil, fmt.Errorf("root key file %s is damaged: it does not hold %q and 32 bytes in base64; restore it from its copy",
			path, rootFilePrefix)
	}
	return newKeyRoot("file", Key(raw)), nil
}

func checkMode(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("checking root key file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("root key file %s has mode %#o, which lets others read it: run `chmod 600 %s`", path, mode, path)
	}
	return nil
}

// passphraseFile is the JSON text beside the database of a passphrase root. It holds nothing that opens anything.
type passphraseFile struct {
	KDF       string `json:"kdf"` // "argon2id"
	Time      uint32 `json:"time"`
	MemoryKiB uint32 `json:"memoryKiB"`
	Threads   uint8  `json:"threads"`
	Salt      []byte `json:"salt"`
	Check     []byte `json:"check"` // derived from the key; tells a wrong passphrase
}

// PassphraseRoot derives a root key with argon2id; the parameters and salt stand in the file at path, which is made
// with RFC 9106's second recommended choice (3 passes over 64 MiB, 4 lanes) when it is missing.
func PassphraseRoot(path string, passphrase Secret) (Root, error) {
	if passphrase == "" {
		return nil, errors.New("the root passphrase is empty")
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		p := passphraseFile{KDF: "argon2id", Time: 3, MemoryKiB: 64 << 10, Threads: 4, Salt: make([]byte, 16)}
		rand.Read(p.Salt)
		p.Check = checkValue(p.key(passphrase))
		if text, err = json.Marshal(p); err == nil {
			text, err = createFile(path, append(text, '\n'))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening passphrase parameters: %w", err)
	}
	var p passphraseFile
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("passphrase parameters %s are damaged; restore them from their copy: %w", path, err)
	}
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("passphrase parameters %s: %w", path, err)
	}
	key := p.key(passphrase)
	defer key.Zero()
	if subtle.ConstantTimeCompare(checkValue(key), p.Check) != 1 {
		return nil, fmt.Errorf("the root passphrase is not the one that %s was made with", path)
	}
	return newKeyRoot("passphrase", key), nil
}

func (p passphraseFile) validate() error {
	switch {
	case p.KDF != "argon2id":
		return fmt.Errorf("kdf is %q, not \"argon2id\"", p.KDF)
	case p.Time < 1 || p.Time > 100:
		return fmt.Errorf("time is %d, not in 1..100", p.Time)
	case p.MemoryKiB < 8<<10 || p.MemoryKiB > 4<<20:
		return fmt.Errorf("memoryKiB is %d, not in %d..%d", p.MemoryKiB, 8<<10, 4<<20)
	case p.Threads < 1:
		return errors.New("threads is 0")
	case len(p.Salt) < 16:
		return fmt.Errorf("salt has %d bytes, fewer than 16", len(p.Salt))
	}
	return nil
}

func (p passphraseFile) key(passphrase Secret) Key {
	raw := argon2.IDKey([]byte(passphrase), p.Salt, p.Time, p.MemoryKiB, p.Threads, uint32(len(Key{})))
	defer clear(raw)
	return Key(raw)
}

func checkValue(key Key) []byte { return derive(key, "keyreel passphrase check", 16) }

// createFile makes a file with mode 0600 that is whole and durable or is not there, and returns its text. When
// another process was first, its text is returned and nothing is replaced: it may have wrapped a key already.
func createFile(path string, text []byte) ([]byte, error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".keyreel-new-*") // O_EXCL, 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", tmp.Name(), err)
	}
	// A link, because rename would replace a file that another process has made meanwhile.
	if err := os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		return os.ReadFile(path)
	} else if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("making %s durable: %w", path, err), os.Remove(path))
	}
	return text, nil
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // has no such call; NTFS journals names
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
