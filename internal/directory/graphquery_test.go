package directory

import (
	"net/http"
	"testing"

	"github.com/keyreel/keyreel/internal/azure"
)

func FuzzSearch(f *testing.F) {
	for _, text := range []string{`"displayName:a"`, `"displayName:a" AND "mail:b" OR "id:c"`, `"displayName:\"q\""`, `"displayName:"`, `a`, `"displayName:a" AND`, ``} {
		f.Add(text)
	}
	o := map[string]any{"displayName": "Ada B. Lovelace", "mail": nil, "id": "c"}
	f.Fuzz(func(t *testing.T, text string) {
		match, err := parseSearch(text, filterProperties)
		if err == nil {
			match(o)
			return
		}
		if e, unexpected := azure.AsError(err); unexpected || e.Status != http.StatusBadRequest {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func TestHasWord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		have, want string
		found      bool
	}{
		{"ada lovelace", "love", true},
		{"ada lovelace", "ace", false},
		{"lovelove love", "love", true},
		{"xlove love", "love", true},
		{"", "a", false},
		{"a", "", true},
		{"élan élan", "lan", false},
		{"ada@example.org", "example", true},
	} {
		if got := hasWord(c.have, c.want); got != c.found {
			t.Errorf("%q in %q: %v", c.want, c.have, got)
		}
	}
}
