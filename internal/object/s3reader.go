package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// s3Reader reads an open object. A context of its own lets Close end requests that are under way.
type s3Reader struct {
	s      *S3
	key    string
	size   int64
	head   []byte // the object's first bytes
	ctx    context.Context
	cancel context.CancelFunc
}

func (r *s3Reader) open(ctx context.Context) error {
	out, err := r.s.get(ctx, r.key, 0, openSize)
	if errorCode(err) == "InvalidRange" { // the object is there and empty
		return nil
	}
	if err != nil {
		return err
	}
	defer out.Body.Close()
	if out.ContentRange == nil { // the service sends all of the object
		r.size = aws.ToInt64(out.ContentLength)
	} else {
		_, size, _ := strings.Cut(*out.ContentRange, "/")
		if r.size, err = strconv.ParseInt(size, 10, 64); err != nil || r.size < 0 {
			return fmt.Errorf("the service answered with Content-Range %q", *out.ContentRange)
		}
	}
	r.head = make([]byte, min(r.size, openSize))
	n, _ := io.ReadFull(out.Body, r.head)
	r.head = r.head[:n] // what did not come is asked for when it is read
	return nil
}

func (r *s3Reader) Size() int64 { return r.size }

func (r *s3Reader) Close() error {
	r.cancel()
	return nil
}

func (r *s3Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading object %s: negative offset %d", r.key, off)
	}
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("reading object %s: it is closed: %w", r.key, err)
	}
	want := max(min(int64(len(p)), r.size-off), 0)
	n := 0
	if off < int64(len(r.head)) {
		n = copy(p[:want], r.head[off:])
	}
	if int64(n) < want {
		got, err := r.read(p[n:want], off+int64(n))
		if n += got; err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read fills p from one request, or from several when bodies break off.
func (r *s3Reader) read(p []byte, off int64) (n int, err error) {
	body, err := r.ReadRange(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer body.Close()
	return io.ReadFull(body, p)
}

// body asks for n bytes from off on.
func (r *s3Reader) body(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	out, err := r.s.get(ctx, r.key, off, n)
	if err != nil {
		return nil, err
	}
	if got := aws.ToString(out.ContentRange); !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", off)) && (got != "" || off > 0) {
		return nil, errors.Join(fmt.Errorf("the service answered with Content-Range %q to a request from %d on", got, off), out.Body.Close())
	}
	return out.Body, nil
}

// s3Retries is how often a body that breaks off is asked for again from there. The client itself repeats requests.
const s3Retries = 3

// s3Stall is how long a body may give nothing.
const s3Stall = time.Minute

// ReadRange returns n bytes from off on as a stream, from one request. It is good until the Reader is closed.
func (r *s3Reader) ReadRange(off, n int64) (io.ReadCloser, error) {
	if off < 0 || n < 0 || off > r.size-n {
		return nil, fmt.Errorf("reading object %s of %d bytes at %d+%d: %w", r.key, r.size, off, n, io.ErrUnexpectedEOF)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	return &s3Body{r: r, off: off, end: off + n, ctx: ctx, cancel: cancel}, nil
}

// s3Body is a range as a stream. A context of its own ends the request when it stalls.
type s3Body struct {
	r        *s3Reader
	off, end int64
	ctx      context.Context
	cancel   context.CancelFunc
	body     io.ReadCloser
	broken   int
}

func (b *s3Body) Read(p []byte) (int, error) {
	for b.off < b.end {
		if b.body == nil {
			body, err := b.r.body(b.ctx, b.off, b.end-b.off)
			if err != nil {
				return 0, fmt.Errorf("reading object %s: %w", b.r.key, err)
			}
			b.body = body
		}
		watch := time.AfterFunc(s3Stall, b.cancel)
		n, err := b.body.Read(p[:min(int64(len(p)), b.end-b.off)])
		watch.Stop()
		b.off += int64(n)
		if err != nil {
			b.drop()
		}
		if n > 0 || err == nil {
			return n, nil
		}
		if b.broken++; b.broken > s3Retries || b.ctx.Err() != nil {
			return 0, fmt.Errorf("reading object %s: its body breaks off at %d: %w", b.r.key, b.off, err)
		}
	}
	return 0, io.EOF
}

func (b *s3Body) drop() {
	if b.body != nil {
		b.body.Close()
		b.body = nil
	}
}

func (b *s3Body) Close() error {
	b.cancel()
	b.drop()
	return nil
}
