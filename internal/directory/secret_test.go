package directory

import (
	"strings"
	"testing"
)

// A secret that begins with "-" is taken for an option by az login -p and its like.
func TestSecretsAreNoOptions(t *testing.T) {
	t.Parallel()
	for range 1000 {
		if s, _ := newSecret(); strings.HasPrefix(s.Reveal(), "-") {
			t.Fatal("a secret begins with a dash")
		}
	}
}
