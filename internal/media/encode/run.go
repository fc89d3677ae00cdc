package encode

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/stream"
)

// Run encodes the local file input into the empty directory outDir and returns the names of the files that it left, the
// server manifest last. progress is called with 0..100, never falling, on Run's goroutine; it may be nil. When
// ctx ends, ffmpeg's whole process group is killed and ctx's cause returned. Another failure is a *JobError. On failure
// outDir may hold partial files. Files are not synced to disk: they are on their way to storage.
func Run(ctx context.Context, plan *Plan, input, outDir string, progress func(percent float64)) ([]string, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(float64) {}
	}
	if err := run(ctx, plan, input, outDir, progress); err != nil {
		return nil, err
	}
	names, err := finish(plan, outDir)
	if err != nil {
		return nil, err
	}
	progress(100)
	return names, nil
}

func run(ctx context.Context, plan *Plan, input, outDir string, progress func(percent float64)) error {
	args := []string{"-nostdin", "-hide_banner", "-nostats", "-loglevel", "warning", "-progress", "pipe:1", "-stats_period", "0.5", "-y"}
	if plan.threads > 0 {
		args = append(args, "-threads", strconv.Itoa(plan.threads))
	}
	source, err := inputArgs(input)
	if err != nil {
		return err
	}
	args = append(append(args, source...), plan.Args...)

	cmd := exec.CommandContext(ctx, "ffmpeg", args...)
	cmd.Dir = outDir
	cmd.WaitDelay = 5 * time.Second
	stderr := &tail{limit: 2 << 10}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("piping ffmpeg's progress: %w", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := start(cmd); err != nil {
		return jobError(serviceError, "ffmpeg could not be started.", err)
	}
	yieldTo(cmd)
	watch(stdout, plan.Duration, progress)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return classify(fmt.Errorf("ffmpeg: %w", err), stderr.String())
	}
	return nil
}

// watch reads what "-progress" writes until its end and reports it below 100: the last step is the caller's.
func watch(r io.Reader, total time.Duration, progress func(percent float64)) {
	last := -1.0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		value, ok := strings.CutPrefix(lines.Text(), "out_time_us=")
		if !ok || total <= 0 {
			continue
		}
		at, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil { // N/A before the first packet
			continue
		}
		percent := min(max(100*float64(at)/float64(total.Microseconds()), 0), 99)
		if percent > last {
			last = percent
			progress(percent)
		}
	}
	io.Copy(io.Discard, r) // after a line too long, so that ffmpeg does not block
}

// finish checks that the outputs can be streamed together and describes them in the server manifest.
func finish(plan *Plan, outDir string) ([]string, error) {
	m := &stream.ServerManifest{Formats: []string{"mp4"}}
	movies := map[string]*stream.Movie{}
	var names []string
	audioListed := false
	for _, out := range plan.Outputs {
		movie, err := open(filepath.Join(outDir, out.Name))
		if err != nil {
			return nil, outputError(out.Name, err)
		}
		movies[out.Name] = movie
		names = append(names, out.Name)
		for _, t := range movie.Tracks {
			entry := stream.ServerTrack{Kind: t.Kind, Source: out.Name, Bitrate: t.Bitrate(), Language: t.Language, TrackID: t.ID, Name: "video"}
			if t.Kind == stream.Audio {
				if audioListed { // the same sound in every interleaved file
					continue
				}
				audioListed = true
				entry.Name = fmt.Sprintf("aac_%s_%d_%d_%d_1", t.Language, t.Channels, entry.Bitrate, t.ID)
			}
			for taken(m.Tracks, entry) { // two renditions of equal rate: URLs tell them apart by it
				entry.Bitrate++
			}
			m.Tracks = append(m.Tracks, entry)
		}
	}
	p, err := stream.NewPresentation(m, movies)
	if err != nil {
		return nil, outputError(plan.Manifest, err)
	}
	if missing := plan.Duration - p.Duration(); missing > max(2*time.Second, plan.Duration/20) {
		return nil, jobError(contentMalformed, fmt.Sprintf("The input says that it lasts %v, but only %v could be read: it is cut short or damaged.",
			plan.Duration.Round(time.Millisecond), p.Duration().Round(time.Millisecond)), nil)
	}
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(outDir, plan.Manifest), b.Bytes(), 0o600); err != nil {
		return nil, jobError(serviceError, "The server manifest could not be written.", err)
	}
	return append(names, plan.Manifest), nil
}

func taken(tracks []stream.ServerTrack, t stream.ServerTrack) bool {
	for _, other := range tracks {
		if other.Name == t.Name && other.Bitrate == t.Bitrate {
			return true
		}
	}
	return false
}

func open(path string) (*stream.Movie, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return stream.Open(f, info.Size())
}

// outputError is the failure to stream what ffmpeg left. An input without a whole frame leaves a file without samples.
func outputError(name string, err error) error {
	var wire *azure.Error
	if errors.As(err, &wire) {
		return jobError(contentUnsupported, fmt.Sprintf("The output %s cannot be streamed: %s", name, wire.Message), err)
	}
	return jobError(serviceError, fmt.Sprintf("The output %s could not be read back.", name), err)
}
