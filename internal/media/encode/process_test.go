package encode

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// What ffmpeg reads is a stranger's, and a flaw in it must not be worth the server's secrets, which it used to inherit.
func TestEnvironmentHoldsNoSecret(t *testing.T) {
	for name, value := range map[string]string{"KEYREEL_ROOT_PASSPHRASE": "hunter2", "KEYREEL_S3_SECRET_KEY": "hunter2", "AWS_SECRET_ACCESS_KEY": "hunter2", "TMPDIR": "/tmp/here"} {
		t.Setenv(name, value)
	}
	cmd := exec.CommandContext(t.Context(), "env")
	var out bytes.Buffer
	cmd.Stdout = &out
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "PATH=") || !strings.Contains(text, "TMPDIR=/tmp/here\n") {
		t.Errorf("the environment: %s", text)
	}
}

func TestProcessIsConfined(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("bounds on memory are set on Linux alone")
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "read go; cat /proc/self/limits /proc/self/oom_score_adj")
	var out bytes.Buffer
	cmd.Stdout = &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("go\n"))
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	if want := "Max data size " + strings.Repeat(strconv.FormatUint(maxMemory(), 10)+" ", 2); !strings.Contains(text, want) || !strings.HasSuffix(text, " 1000") {
		t.Errorf("the process has: %s", text)
	}
}

func TestProbeRefusesSizes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, answer string
		want         string // empty is none
	}{
		{"ultra high definition", `{"streams":[{"codec_type":"video","width":7680,"height":4320}]}`, ""},
		{"too large", `{"streams":[{"codec_type":"video","width":9000,"height":4320}]}`, "9000x4320"},
		{"too large as displayed", `{"streams":[{"codec_type":"video","width":1920,"height":1080,"sample_aspect_ratio":"1000000:1"}]}`, "pixels"},
		{"too large for a product", `{"streams":[{"codec_type":"video","width":2147483647,"height":8,"sample_aspect_ratio":"2147483647:1"}]}`, "pixels"},
		{"flat as displayed", `{"streams":[{"codec_type":"video","width":16,"height":16,"sample_aspect_ratio":"1:1000000","side_data_list":[{"rotation":90}]}]}`, ""},
	} {
		var p probeResult
		if err := json.Unmarshal([]byte(tt.answer), &p); err != nil {
			t.Fatal(err)
		}
		_, err := p.media()
		var je *JobError
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &je) || je.Code != contentUnsupported || !strings.Contains(je.Message, tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	var a answer
	if _, err := a.Write(make([]byte, maxAnswer)); err != nil || a.tooLong {
		t.Errorf("an answer of the length: %v", err)
	}
	if _, err := a.Write([]byte{0}); err == nil || !a.tooLong {
		t.Error("an answer too long is read")
	}
}
