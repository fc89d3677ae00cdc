package media

import (
	"container/list"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keyreel/keyreel/internal/azure"
	"github.com/keyreel/keyreel/internal/media/stream"
)

const (
	presentationCacheSize = 256 << 20 // bytes of parsed presentations
	maxServerManifest     = 1 << 20   // bytes
	// openTimeout bounds the reading of a presentation's indexes.
	openTimeout = time.Minute
)

// presentation is a parsed presentation and the versions of the files that it was read from.
type presentation struct {
	*stream.Presentation
	manifest version
	sources  map[string]version
	size     int64
}

// presentations keeps parsed presentations, the least recently used of which make room for new ones.
type presentations struct {
	flight singleflight.Group

	mu     sync.Mutex
	room   int64
	byFile map[file]*list.Element
	recent list.List // of *keptPresentation
}

type keptPresentation struct {
	file
	*presentation
}

func newPresentations(size int64) *presentations {
	return &presentations{room: size, byFile: map[file]*list.Element{}}
}

func (c *presentations) get(f file) *presentation {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byFile[f]
	if !ok {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*keptPresentation).presentation
}

func (c *presentations) put(f file, p *presentation) {
	c.drop(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byFile[f] = c.recent.PushFront(&keptPresentation{f, p})
	c.room -= p.size
	for c.room < 0 && c.recent.Len() > 1 {
		c.remove(c.recent.Back())
	}
}

func (c *presentations) drop(f file) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byFile[f]; ok {
		c.remove(e)
	}
}

func (c *presentations) remove(e *list.Element) {
	old := c.recent.Remove(e).(*keptPresentation)
	delete(c.byFile, old.file)
	c.room += old.size
}

// presentation returns the presentation of a version of a server manifest.
func (s *Service) presentation(ctx context.Context, manifest file, v version) (*presentation, error) {
	if p := s.presentations.get(manifest); p != nil && p.manifest == v {
		return p, nil
	}
	flight := fmt.Sprintf("%q", []any{manifest.account, manifest.storage, manifest.identity.PrincipalID, manifest.container, manifest.name, v.etag})
	result := s.presentations.flight.DoChan(flight, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), openTimeout)
		defer cancel()
		p, err := s.readPresentation(ctx, manifest, v)
		if err == nil {
			s.presentations.put(manifest, p)
		}
		return p, err
	})
	select {
	case got := <-result:
		if got.Err != nil {
			return nil, got.Err
		}
		return got.Val.(*presentation), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Service) readPresentation(ctx context.Context, manifest file, v version) (*presentation, error) {
	if v.size > maxServerManifest {
		return nil, azure.Errorf(400, "MPE_BAD_SERVER_MANIFEST", "The server manifest '%s' has %d bytes; %d are read.", manifest.name, v.size, maxServerManifest)
	}
	m, err := stream.ParseServerManifest(io.NewSectionReader(blobReader{ctx, s, manifest, v}, 0, v.size))
	if err != nil {
		return nil, err
	}
	p := &presentation{manifest: v, sources: map[string]version{}}
	movies := map[string]*stream.Movie{}
	for _, name := range m.Sources() {
		source := file{manifest.storageTarget, manifest.container, name}
		v, err := s.access.current(ctx, source)
		if err != nil {
			return nil, err
		}
		movie, err := stream.Open(blobReader{ctx, s, source, v}, v.size)
		if err != nil {
			return nil, fmt.Errorf("opening '%s': %w", name, err)
		}
		movies[name], p.sources[name] = movie, v
		p.size += movie.Footprint()
	}
	if p.Presentation, err = stream.NewPresentation(m, movies); err != nil {
		return nil, err
	}
	p.size += p.Footprint()
	return p, nil
}

func isNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }
