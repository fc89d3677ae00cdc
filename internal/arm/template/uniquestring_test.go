package template

import "testing"

// TestUniqueString compares with strings that Bicep's own compiler has made.
func TestUniqueString(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []any
		want string
	}{
		{[]any{"test"}, "rbgf3xv4ufgzg"},
		{[]any{"hello", "world"}, "a7wkljktk6wne"},
		{[]any{"abc"}, "cgtzqvhu4i23s"},
		{[]any{"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg"}, "bmg7c6xu4tw46"},
		{[]any{"foo", "bar", "baz"}, "xzi4ioaxtmth4"},
	} {
		if got, err := uniqueString(nil, c.args); err != nil || got != c.want {
			t.Errorf("%v: %v, %v; want %s", c.args, got, err, c.want)
		}
	}
	if _, err := uniqueString(nil, []any{int64(1)}); err == nil {
		t.Error("a number was accepted")
	}
}
