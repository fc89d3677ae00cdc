package encode

// tail keeps the end of what is written to it.
type tail struct {
	limit int
	b     []byte
	cut   bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - t.limit; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	if t.cut {
		return "..." + string(t.b)
	}
	return string(t.b)
}
