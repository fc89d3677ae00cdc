package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// terminal prints a story: numbered chapters, timed steps, a progress bar where the output is a terminal.
type terminal struct {
	out     io.Writer
	live    bool // a terminal: lines may be overwritten
	chapter int
	start   time.Time
}

func newTerminal(out io.Writer) *terminal {
	t := &terminal{out: out, start: time.Now()}
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			t.live = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return t
}

func (t *terminal) title(text string) {
	t.chapter++
	fmt.Fprintf(t.out, "\n%d. %s\n", t.chapter, text)
}

// step runs fn and prints what it did with the time it took.
func (t *terminal) step(what string, fn func() (detail string, err error)) error {
	start := time.Now()
	if t.live {
		fmt.Fprintf(t.out, "   ... %s", what)
	}
	detail, err := fn()
	if t.live {
		fmt.Fprint(t.out, "\r\033[K")
	}
	if err != nil {
		fmt.Fprintf(t.out, "   FAILED %s\n", what)
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(t.out, "   %8s  %s\n", round(time.Since(start)), what)
	for line := range strings.SplitSeq(detail, "\n") {
		if line != "" {
			fmt.Fprintf(t.out, "             %s\n", line)
		}
	}
	return nil
}

// progress redraws a bar on a terminal; elsewhere it prints each quarter once.
func (t *terminal) progress(percent, last int) {
	if t.live {
		const width = 40
		full := percent * width / 100
		fmt.Fprintf(t.out, "\r\033[K   [%s%s] %3d %%", strings.Repeat("#", full), strings.Repeat(".", width-full), percent)
		return
	}
	if percent/25 != last/25 {
		fmt.Fprintf(t.out, "             %d %%\n", percent)
	}
}

func round(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
