package media

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"golang.org/x/sync/singleflight"
)

const (
	blockSize      = 1 << 20
	blockCacheSize = 128 << 20 // bytes
	// blockTimeout bounds the download of a block.
	blockTimeout = 30 * time.Second
)

// blockCache holds pieces of blobs, the least recently used of which make room for new ones. A block belongs to one
// version of a blob and to the identity that read it. Whether it may still be served, [storageAccess] decides.
type blockCache struct {
	flight singleflight.Group

	mu     sync.Mutex
	room   int64
	blocks map[block]*list.Element
	recent list.List // of *cachedBlock, most recently used first
}

type block struct {
	file
	version
	index int64
}

type cachedBlock struct {
	block
	bytes []byte
}

func newBlockCache(size int64) *blockCache {
	return &blockCache{room: size, blocks: map[block]*list.Element{}}
}

func (c *blockCache) get(b block) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.blocks[b]
	if !ok {
		return nil, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(*cachedBlock).bytes, true
}

func (c *blockCache) put(b block, bytes []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.blocks[b]; ok {
		return
	}
	c.blocks[b] = c.recent.PushFront(&cachedBlock{b, bytes})
	c.room -= int64(len(bytes))
	for c.room < 0 && c.recent.Len() > 1 {
		e := c.recent.Back()
		old := c.recent.Remove(e).(*cachedBlock)
		delete(c.blocks, old.block)
		c.room += int64(len(old.bytes))
	}
}

// blobReader reads one version of a blob through the block cache. It lives as long as one request, whose context it
// holds because io.ReaderAt has no place for one. A request may last: before every block it is seen to that the account
// may still use its key and that storage still gives this version to its identity.
type blobReader struct {
	ctx     context.Context
	service *Service
	file    file
	version version
}

// ReadAt implements io.ReaderAt.
func (r blobReader) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= r.version.size {
			return n, io.EOF
		}
		bytes, err := r.block(at / blockSize)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], bytes[at%blockSize:])
	}
	return n, nil
}

func (r blobReader) block(index int64) ([]byte, error) {
	if _, err := r.service.o.Keys.Key(r.ctx, r.file.account); err != nil {
		return nil, err
	}
	if now, err := r.service.access.current(r.ctx, r.file); err != nil {
		return nil, err
	} else if now != r.version {
		return nil, fmt.Errorf("%s/%s was replaced while it was read", r.file.container, r.file.name)
	}
	b := block{r.file, r.version, index}
	if bytes, ok := r.service.blocks.get(b); ok {
		return bytes, nil
	}
	result := r.service.blocks.flight.DoChan(fmt.Sprintf("%q", []any{b.account, b.storage, b.identity.PrincipalID, b.container, b.file.name, b.etag, b.index}), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), blockTimeout)
		defer cancel()
		bytes, err := r.service.download(ctx, b)
		if err == nil {
			r.service.blocks.put(b, bytes)
		}
		return bytes, err
	})
	select {
	case got := <-result:
		if got.Err != nil {
			return nil, got.Err
		}
		return got.Val.([]byte), nil
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	}
}

// download reads a block of exactly the version that it belongs to.
func (s *Service) download(ctx context.Context, b block) ([]byte, error) {
	client, err := s.client(ctx, b.storageTarget)
	if err != nil {
		return nil, err
	}
	offset := b.index * blockSize
	bytes := make([]byte, min(blockSize, b.size-offset))
	etag := b.etag
	got, err := client.NewContainerClient(b.container).NewBlobClient(b.file.name).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range:            blob.HTTPRange{Offset: offset, Count: int64(len(bytes))},
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &etag}},
	})
	const action = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
	if err := s.access.observe(ctx, b.storageTarget, b.problem(action, err)); err != nil {
		return nil, err
	}
	defer got.Body.Close()
	if _, err := io.ReadFull(got.Body, bytes); err != nil {
		return nil, b.problem(action, fmt.Errorf("reading %s/%s: %w", b.container, b.file.name, err))
	}
	return bytes, nil
}
