package blob

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keyreel/keyreel/internal/azure"
)

func FuzzBlockList(f *testing.F) {
	id := blockID(1)
	for _, s := range []string{
		"", "<BlockList/>", "<BlockList><Latest>" + id + "</Latest></BlockList>", `<?xml version="1.0" encoding="utf-8"?><BlockList><Committed>` + id + "</Committed><Uncommitted>" + id + "</Uncommitted></BlockList>",
		"<BlockList><Latest><Latest>" + id + "</Latest></Latest></BlockList>", "<BlockList></BlockList><BlockList/>", "<!DOCTYPE x [<!ENTITY e 'v'>]><BlockList>&e;</BlockList>", "\ufeff<BlockList/>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		blocks, err := parseBlockList(strings.NewReader(s))
		if err != nil {
			if e, unexpected := azure.AsError(err); unexpected || e.Status != http.StatusBadRequest {
				t.Errorf("%v", err)
			}
			return
		}
		for _, b := range blocks {
			if checkBlockID(b.id) != nil {
				t.Errorf("block id %q", b.id)
			}
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"", "bytes=0-", "bytes=1-2", "bytes=-1", "bytes=9223372036854775807-9223372036854775807", "bytes=1-2,3-4", "bytes= 1-2"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		r, ok := parseRange(s)
		if !ok || size < 0 {
			return
		}
		start, end, err := r.within(size)
		if err == nil && (start < 0 || start >= end || end > size) {
			t.Errorf("%q of %d is [%d, %d)", s, size, start, end)
		}
	})
}

func FuzzConditions(f *testing.F) {
	for _, s := range []string{"", "*", `"a"`, `"a", W/"b"`, ",,", `""`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, tag := range etags(s) {
			if tag == "" {
				t.Errorf("%q gives an empty tag", s)
			}
		}
	})
}

// A path is split into what was sent, or refused.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/con", "/con/", "/con/a//b", "/con/..", "/con/%2e%2e/x", "/con/%2F", "/%00", "/$root/x", "//", "/con/%ff"} {
		f.Add(s)
	}
	s := &Storage{Options: Options{Hosts: azure.Hosts{Domain: "keyreel.test"}}}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = "acct1.blob.keyreel.test"
		u, err := r.URL.Parse(path)
		if err != nil {
			return
		}
		r.URL = u
		level, vars, err := s.split(r, u.Query())
		if err != nil {
			if e, unexpected := azure.AsError(err); unexpected || e.Status != http.StatusBadRequest {
				t.Errorf("%v", err)
			}
			return
		}
		if level == atBlob && (vars["blob"] == "" || !utf8.ValidString(vars["blob"]) || strings.Contains(vars["blob"], "\x00")) {
			t.Errorf("%q gives the blob %q", path, vars["blob"])
		}
		if vars["container"] != "" && checkContainerName(vars["container"]) != nil {
			t.Errorf("%q gives the container %q", path, vars["container"])
		}
	})
}

// Any name comes back out of a listing's XML.
func FuzzNameXML(f *testing.F) {
	for _, s := range oddNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || checkBlobName(s) != nil {
			return
		}
		b, err := entriesXML([]entry{{blob: blob{name: s}, common: true}}, nil, false)
		check(t, err)
		var got struct {
			Name struct {
				Encoded bool   `xml:",attr"`
				Text    string `xml:",chardata"`
			}
		}
		if err := xml.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		text := got.Name.Text
		if got.Name.Encoded {
			text = pathUnescape(t, text)
		}
		if text != s {
			t.Errorf("%q came back as %q", s, text)
		}
	})
}
