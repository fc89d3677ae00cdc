package stream

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/keyreel/keyreel/internal/azure"
)

// Options are what the delivery of one request adds to a presentation.
type Options struct {
	Key   *Key       // needed when, and only when, the request says encryption=cbc
	Query url.Values // carried on to every URI in a manifest and to Key.URI, e.g. token
}

// Response is the answer to a request, ready to be written.
type Response struct {
	ContentType string
	Size        int64  // exact Content-Length
	Source      string // the file that Write reads from; empty when it needs none

	body  []byte // when there is no Source
	r     *rendition
	index int          // of the segment
	block cipher.Block // of the envelope; nil is clear
	iv    [aes.BlockSize]byte
}

// Respond prepares the answer to req. A rendition or time that does not exist gives an *azure.Error 404, a request for
// encryption without a key in o 400, and a key that the request does not ask for 400 too: content that has a key is
// never handed out in the clear.
func (p *Presentation) Respond(req Request, o Options) (*Response, error) {
	if req.Encrypted != (o.Key != nil) {
		if req.Encrypted {
			return nil, badURL("The content has no key for encryption=cbc; leave it out.")
		}
		return nil, azure.Errorf(http.StatusBadRequest, "MPE_ENC_ENCRYPTION_NOT_SPECIFIED_IN_URL",
			"The content is encrypted; add encryption=cbc to the URL.")
	}
	if req.Target == Master {
		if req.Format == HLSCMAF {
			return manifest("application/vnd.apple.mpegurl", p.masterPlaylist(&req, &o)), nil
		}
		return manifest("application/dash+xml", p.mpd(&req, &o)), nil
	}
	r, err := p.find(&req)
	if err != nil {
		return nil, err
	}
	media := "video/mp4"
	if r.Kind == Audio {
		media = "audio/mp4"
	}
	switch req.Target {
	case Playlist:
		return manifest("application/vnd.apple.mpegurl", r.playlist(&req, &o)), nil
	case Init:
		return manifest(media, r.init), nil
	case Fragment:
		i, err := r.segmentAt(req.Time)
		if err != nil {
			return nil, err
		}
		s := &r.segments[i]
		resp := &Response{ContentType: media, Size: r.size(s), Source: r.source, r: r, index: i}
		if o.Key != nil {
			resp.Size = envelopeSize(resp.Size)
			resp.iv = o.Key.iv(r, s.start)
			if resp.block, err = o.Key.block(); err != nil {
				return nil, err
			}
		}
		return resp, nil
	}
	return nil, fmt.Errorf("stream: request target %d", req.Target)
}

func manifest(contentType string, body []byte) *Response {
	return &Response{ContentType: contentType, Size: int64(len(body)), body: body}
}

// Write writes the body to w, reading media from src, the file named Source, which must be the one that the movie was
// opened from. src may be nil when Source is empty. It stops between reads when ctx is done.
func (r *Response) Write(ctx context.Context, w io.Writer, src io.ReaderAt) error {
	if r.Source == "" {
		_, err := w.Write(r.body)
		return err
	}
	if r.block == nil {
		return r.r.writeSegment(ctx, w, src, r.index)
	}
	e := newEnvelope(w, r.block, r.iv)
	if err := r.r.writeSegment(ctx, e, src, r.index); err != nil {
		return err
	}
	return e.Close()
}
