package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/stream"
)

// igniteISM has the shape of what Azure's encoder left, with a text track added later through the Tracks API.
const igniteISM = "\ufeff" + `<?xml version="1.0" encoding="utf-8" standalone="yes"?>
<smil xmlns="http://www.w3.org/2001/SMIL20/Language">
  <head>
    <meta name="clientManifestRelativePath" content="ignite.ismc" />
    <meta name="formats" content="mp4-v3" />
    <meta name="fragmentsPerHLSSegment" content="3" />
  </head>
  <body>
    <switch>
      <audio src="ignite_AAC_und_ch2_128kbps.mp4" systemBitrate="128041" systemLanguage="eng">
        <param name="systemBitrate" value="128041" valuetype="data" />
        <param name="trackID" value="2" valuetype="data" />
        <param name="trackName" value="aac_eng_2_128041_2_1" valuetype="data" />
        <param name="trackIndex" value="ignite_AAC_und_ch2_128kbps_2.mpi" valuetype="data" />
      </audio>
      <video src="ignite_1280x720_AACAudio_3549.mp4" systemBitrate="3579827">
        <param name="trackID" value="1" valuetype="data" />
        <param name="trackName" value="video" valuetype="data" />
      </video>
      <video src="ignite_320x180.mp4"><param name="systemBitrate" value="388904" valuetype="data" /></video>
      <textstream src="ignite.vtt" systemBitrate="1000"><param name="trackName" value="eng" /></textstream>
    </switch>
  </body>
</smil>`

func TestParseServerManifest(t *testing.T) {
	t.Parallel()
	got, err := stream.ParseServerManifest(strings.NewReader(igniteISM))
	if err != nil {
		t.Fatal(err)
	}
	want := &stream.ServerManifest{ClientManifest: "ignite.ismc", Formats: []string{"mp4-v3"}, Tracks: []stream.ServerTrack{
		{Kind: stream.Audio, Source: "ignite_AAC_und_ch2_128kbps.mp4", Bitrate: 128041, Language: "eng", TrackID: 2, Name: "aac_eng_2_128041_2_1"},
		{Kind: stream.Video, Source: "ignite_1280x720_AACAudio_3549.mp4", Bitrate: 3579827, TrackID: 1, Name: "video"},
		{Kind: stream.Video, Source: "ignite_320x180.mp4", Bitrate: 388904},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("manifest (-want +got):\n%s", diff)
	}
	var b bytes.Buffer
	if err := got.Write(&b); err != nil {
		t.Fatal(err)
	}
	again, err := stream.ParseServerManifest(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("manifest written and read (-want +got):\n%s", diff)
	}
}

func TestParseServerManifestRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, doc string }{
		{"empty", ""},
		{"not XML", "{}"},
		{"another document", "<html><body/></html>"},
		{"no tracks", "<smil><body><switch/></body></smil>"},
		{"path", `<smil><body><switch><video src="../other/a.mp4"/></switch></body></smil>`},
		{"no source", `<smil><body><switch><video/></switch></body></smil>`},
		{"bitrate", `<smil><body><switch><video src="a.mp4" systemBitrate="fast"/></switch></body></smil>`},
		{"track id", `<smil><body><switch><video src="a.mp4"><param name="trackID" value="-1"/></video></switch></body></smil>`},
		{"live archive", `<smil><head><meta name="formats" content="vod-fmp4"/></head><body><switch><video src="a"/></switch></body></smil>`},
		{"too many tracks", "<smil><body><switch>" + strings.Repeat(`<video src="a.mp4"/>`, 101) + "</switch></body></smil>"},
		{"too long", igniteISM + strings.Repeat(" ", 1<<20)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := stream.ParseServerManifest(strings.NewReader(tc.doc))
			wantCode(t, err, 400, "ContentMalformed")
		})
	}
	broken := errors.New("the line is cut")
	if _, err := stream.ParseServerManifest(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's", err)
	}
}

func wantCode(t *testing.T, err error, status int, code string) {
	t.Helper()
	var e *azure.Error
	if !errors.As(err, &e) || e.Status != status || e.Code != code || e.Message == "" {
		t.Errorf("error %v, want %d %s", err, status, code)
	}
}

func FuzzParseServerManifest(f *testing.F) {
	f.Add([]byte(igniteISM))
	f.Add([]byte(fmt.Sprintf("<smil><body><switch>%s</switch></body></smil>", `<video src="a.mp4"/>`)))
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := stream.ParseServerManifest(bytes.NewReader(doc))
		if err != nil {
			return
		}
		for _, name := range m.Sources() {
			if name == "" || name == ".." || strings.ContainsAny(name, `/\`) {
				t.Errorf("source %q is not a file name", name)
			}
		}
	})
}
