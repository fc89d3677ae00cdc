package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSecretsPrintAsRedacted(t *testing.T) {
	t.Parallel()
	key := Key(bytes.Repeat([]byte{0xab}, 32))
	secret := Secret("hunter2")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%t"} {
		for name, v := range map[string]any{
			"key": key, "pointer to key": &key, "secret": secret, "pointer to secret": &secret,
			"struct": struct {
				K Key
				S Secret
			}{key, secret},
			"slice": []Secret{secret},
			"map":   map[Secret]Key{secret: key},
		} {
			got := fmt.Sprintf(verb, v)
			if !strings.Contains(got, "redacted") || leaks(got) {
				t.Errorf("%s of %s prints %q", verb, name, got)
			}
		}
	}
	text, err := json.Marshal(map[string]any{"key": key, "secret": secret, "secrets": []Secret{secret}})
	if err != nil || leaks(string(text)) {
		t.Errorf("JSON is %s, %v", text, err)
	}
	var log bytes.Buffer
	// The time is left out: its fraction may hold the digits of a trace.
	untimed := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, untimed), slog.NewJSONHandler(&log, untimed)} {
		slog.New(h).Info("m", "key", key, "secret", secret, "both", []any{key, secret})
	}
	if leaks(log.String()) || strings.Count(log.String(), "redacted") != 8 {
		t.Errorf("log is %s", &log)
	}
	if err := fmt.Errorf("bad %v %w", key, errors.New(fmt.Sprint(secret))); leaks(err.Error()) {
		t.Errorf("error is %v", err)
	}
	if secret.Reveal() != "hunter2" {
		t.Error("Reveal does not")
	}
}

func leaks(s string) bool {
	s = strings.ToLower(s)
	for _, trace := range []string{"hunter2", "68756e74", "abab", "0xab", "171"} {
		if strings.Contains(s, trace) {
			return true
		}
	}
	return false
}

func TestSecretDecodesAsItStands(t *testing.T) {
	t.Parallel()
	var v struct{ S Secret }
	if err := json.Unmarshal([]byte(`{"S":"hunter2"}`), &v); err != nil || v.S.Reveal() != "hunter2" {
		t.Errorf("decoded %q, %v", v.S.Reveal(), err)
	}
}

func TestZero(t *testing.T) {
	t.Parallel()
	key := NewKey()
	if key == (Key{}) || key == NewKey() {
		t.Fatal("NewKey is not random")
	}
	if key.Zero(); key != (Key{}) {
		t.Error("the key is still there")
	}
}

func TestKeySeal(t *testing.T) {
	t.Parallel()
	key := NewKey()
	sealed := key.Seal([]byte("value"), "table", "row", "field")
	if len(sealed) != len("value")+40 {
		t.Errorf("sealed to %d bytes", len(sealed))
	}
	if bytes.Equal(sealed, key.Seal([]byte("value"), "table", "row", "field")) {
		t.Error("sealed twice alike")
	}
	for _, tt := range []struct {
		name   string
		key    Key
		sealed []byte
		aad    []string
		ok     bool
	}{
		{"as sealed", key, sealed, []string{"table", "row", "field"}, true},
		{"another key", NewKey(), sealed, []string{"table", "row", "field"}, false},
		{"another row", key, sealed, []string{"table", "wor", "field"}, false},
		{"parts cut elsewhere", key, sealed, []string{"tabler", "ow", "field"}, false},
		{"parts joined", key, sealed, []string{"tablerowfield"}, false},
		{"one more empty part", key, sealed, []string{"table", "row", "field", ""}, false},
		{"no parts", key, sealed, nil, false},
		{"cut", key, sealed[:len(sealed)-1], []string{"table", "row", "field"}, false},
		{"only a nonce", key, sealed[:24], []string{"table", "row", "field"}, false},
		{"empty", key, nil, []string{"table", "row", "field"}, false},
		{"longer", key, append(bytes.Clone(sealed), 0), []string{"table", "row", "field"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			plain, err := tt.key.Open(tt.sealed, tt.aad...)
			if tt.ok && (err != nil || string(plain) != "value") {
				t.Errorf("opened %q, %v", plain, err)
			}
			if !tt.ok && !errors.Is(err, ErrCorrupt) {
				t.Errorf("opened %q, %v; want ErrCorrupt", plain, err)
			}
		})
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := key.Open(changed, "table", "row", "field"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("with byte %d changed: %v", i, err)
		}
	}
	if plain, err := key.Open(key.Seal(nil)); err != nil || len(plain) != 0 {
		t.Errorf("an empty value opens as %q, %v", plain, err)
	}
}

func TestJoinAADIsInjective(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[ab\x00]{0,3}`), 0, 4)
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		same := len(a) == len(b)
		for i := 0; same && i < len(a); i++ {
			same = a[i] == b[i]
		}
		if bytes.Equal(joinAAD(a), joinAAD(b)) != same {
			t.Fatalf("%q and %q", a, b)
		}
	})
}

func FuzzKeyOpen(f *testing.F) {
	key := Key{1}
	f.Add([]byte{})
	f.Add(make([]byte, xaesOverhead))
	f.Add(key.Seal([]byte("value"), "place"))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if plain, err := key.Open(sealed, "place"); err == nil && string(plain) != "value" {
			t.Errorf("forged %q", plain)
		}
	})
}

func BenchmarkKeySeal(b *testing.B) {
	key, value := NewKey(), make([]byte, 32)
	for b.Loop() {
		key.Seal(value, "table", "row", "field")
	}
}

func BenchmarkKeyOpen(b *testing.B) {
	key := NewKey()
	sealed := key.Seal(make([]byte, 32), "table", "row", "field")
	for b.Loop() {
		if _, err := key.Open(sealed, "table", "row", "field"); err != nil {
			b.Fatal(err)
		}
	}
}
