package object

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// S3Options name a bucket of an S3-compatible service.
type S3Options struct {
	Endpoint             string // "https://host[:port]"; empty is AWS's own for the region
	Region               string // empty is "us-east-1", which most other services take
	Bucket               string // has to exist
	Prefix               string // put before every key as it stands, e.g. "keyreel/"
	AccessKey, SecretKey string
	PathStyle            bool // the bucket stands in the path, not in the host name
}

const (
	// openSize is how much of an object Open fetches: enough for the header and first segment of a sealed stream.
	openSize = 64 << 10

	firstPartSize = 8 << 20  // also the most that is put in one request
	laterPartSize = 64 << 20 // of parts beyond largeAfter, so that 10,000 parts suffice for 580 GiB
	largeAfter    = 1000
	maxParts      = 10_000
	partsAtOnce   = 3

	markName = "keyreel-put" // metadata that tells which Put made an object
)

// S3 keeps objects in a bucket of an S3-compatible service. It is safe for concurrent use.
type S3 struct {
	client         *s3.Client
	bucket, prefix string
}

// OpenS3 checks the options and makes a client. It does not connect.
func OpenS3(o S3Options) (*S3, error) {
	switch {
	case o.Bucket == "":
		return nil, errors.New("S3 object store: the bucket's name is missing")
	case o.AccessKey == "" || o.SecretKey == "":
		return nil, errors.New("S3 object store: access key or secret key is missing")
	}
	if o.Endpoint != "" {
		if u, err := url.Parse(o.Endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("S3 object store: endpoint %q is not https://host[:port]", o.Endpoint)
		}
	}
	credentials := aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey}
	options := s3.Options{
		Region:       cmp.Or(o.Region, "us-east-1"),
		UsePathStyle: o.PathStyle,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return credentials, nil
		}),
		// Services other than AWS reject the checksums that the client adds by default.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = time.Minute
			t.MaxIdleConnsPerHost = 64
		}),
	}
	if o.Endpoint != "" {
		options.BaseEndpoint = &o.Endpoint
	}
	return &S3{client: s3.New(options), bucket: o.Bucket, prefix: o.Prefix}, nil
}

// Put implements Store. It holds at most four parts of 8 MiB in memory (of 64 MiB beyond 8 GiB).
func (s *S3) Put(ctx context.Context, key string, r io.Reader) (int64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	mark := rand.Text()
	var first bytes.Buffer
	n, err := io.Copy(&first, io.LimitReader(r, firstPartSize))
	switch {
	case err != nil:
	case n < firstPartSize:
		_, err = s.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &s.bucket, Key: s.name(key), Body: bytes.NewReader(first.Bytes()),
			IfNoneMatch: aws.String("*"), Metadata: map[string]string{markName: mark},
		})
		if err != nil {
			err = s.settle(ctx, key, mark, err)
		}
	default:
		n, err = s.putParts(ctx, key, mark, first.Bytes(), r)
	}
	if err != nil {
		return 0, fmt.Errorf("putting object %s: %w", key, err)
	}
	return n, nil
}

// settle finds out what became of a request that was to make an object and failed. It returns nil when the object is
// there and this Put made it: the answer was lost, or a retry met what the first try had made.
func (s *S3) settle(ctx context.Context, key, mark string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.name(key)})
	switch {
	case isNotFound(err):
		return cause
	case err != nil:
		return errors.Join(cause, fmt.Errorf("finding out whether it was stored: %w", err))
	case head.Metadata[markName] == mark:
		return nil
	}
	return ErrExists
}

func (s *S3) putParts(ctx context.Context, key, mark string, part []byte, r io.Reader) (int64, error) {
	// Some services know If-None-Match for one request only. For so large an object a look costs nothing.
	_, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.name(key)})
	if err == nil {
		return 0, ErrExists
	}
	if !isNotFound(err) {
		return 0, err
	}
	upload, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: s.name(key), Metadata: map[string]string{markName: mark},
	})
	if err != nil {
		return 0, err
	}
	n, parts, err := s.uploadParts(ctx, key, upload.UploadId, part, r)
	if err != nil {
		return 0, errors.Join(err, s.abort(ctx, s.name(key), upload.UploadId))
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: s.name(key), UploadId: upload.UploadId, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err == nil {
		return n, nil
	}
	if err = s.settle(ctx, key, mark, err); err != nil {
		return 0, errors.Join(err, s.abort(ctx, s.name(key), upload.UploadId))
	}
	return n, nil
}

// uploadParts sends part, which was read already, and all that r still gives.
func (s *S3) uploadParts(ctx context.Context, key string, id *string, part []byte, r io.Reader) (int64, []types.CompletedPart, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	var etags [maxParts]*string
	var total int64
	count := 0
	var err error
	for len(part) > 0 && err == nil {
		if count == maxParts {
			err = fmt.Errorf("object is larger than %d parts", maxParts)
			break
		}
		i, body := count, part
		g.Go(func() error { // waits while partsAtOnce are under way
			out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
				Bucket: &s.bucket, Key: s.name(key), UploadId: id, PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(body),
			})
			if err != nil {
				return fmt.Errorf("uploading part %d: %w", i+1, err)
			}
			etags[i] = out.ETag
			return nil
		})
		total += int64(len(part))
		if count++; ctx.Err() != nil {
			break // g.Wait knows why
		}
		size := firstPartSize
		if count >= largeAfter {
			size = laterPartSize
		}
		part = make([]byte, size)
		var n int
		if n, err = io.ReadFull(r, part); err == io.EOF || err == io.ErrUnexpectedEOF {
			err = nil
		}
		part = part[:n]
	}
	if err = errors.Join(err, g.Wait()); err != nil {
		return 0, nil, err
	}
	parts := make([]types.CompletedPart, count)
	for i := range parts {
		parts[i] = types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: etags[i]}
	}
	return total, parts, nil
}

// abort gives an upload's parts up. An upload that is gone is no error.
func (s *S3) abort(ctx context.Context, name, id *string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: name, UploadId: id})
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("aborting upload: %w", err)
	}
	return nil
}

// AbortStale removes the parts of uploads that were begun before the given time and never completed: what crashes
// left. The time must lie further back than any Put may take.
func (s *S3) AbortStale(ctx context.Context, before time.Time) error {
	in := &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &s.prefix}
	for {
		page, err := s.client.ListMultipartUploads(ctx, in)
		if err != nil {
			return fmt.Errorf("listing unfinished uploads: %w", err)
		}
		for _, u := range page.Uploads {
			if u.Initiated == nil || !u.Initiated.Before(before) {
				continue
			}
			if err := s.abort(ctx, u.Key, u.UploadId); err != nil {
				return err
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
	}
}

// Open implements Store. One request fetches the object's size and its first 64 KiB, from which reads are served.
func (s *S3) Open(ctx context.Context, key string) (Reader, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	r := &s3Reader{s: s, key: key}
	if err := r.open(ctx); err != nil {
		return nil, fmt.Errorf("opening object %s: %w", key, err)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.name(key)})
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("deleting object %s: %w", key, err)
	}
	return nil
}

// List implements Store.
func (s *S3) List(ctx context.Context, fn func(Info) error) error {
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &s.prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing objects: %w", err)
		}
		for _, o := range page.Contents {
			key := strings.TrimPrefix(aws.ToString(o.Key), s.prefix)
			if !validKey(key) {
				continue
			}
			if err := fn(Info{Key: key, Size: aws.ToInt64(o.Size), Written: aws.ToTime(o.LastModified)}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *S3) name(key string) *string { return aws.String(s.prefix + key) }

// get fetches n bytes from off on, or fewer at the object's end.
func (s *S3) get(ctx context.Context, key string, off, n int64) (*s3.GetObjectOutput, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &s.bucket, Key: s.name(key), Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1)),
	})
	if isNotFound(err) {
		return nil, ErrNotFound
	}
	return out, err
}

// isNotFound reports whether the service says that an object or upload is missing. A missing bucket is another thing.
func isNotFound(err error) bool {
	var response interface{ HTTPStatusCode() int }
	return errors.As(err, &response) && response.HTTPStatusCode() == http.StatusNotFound && errorCode(err) != "NoSuchBucket"
}

// errorCode returns the code of a service's error, or "".
func errorCode(err error) string {
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}
