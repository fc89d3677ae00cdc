package media

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/keyreel/keyreel/internal/media/encode"
)

// transfer is which way a storage problem stood in.
type transfer struct {
	upload bool
	err    error
}

func (t *transfer) Error() string { return t.err.Error() }
func (t *transfer) Unwrap() error { return t.err }

// download brings the input file into the scratch folder.
func (e *encoding) download(ctx context.Context) error {
	t, name, err := e.service.assetFiles(ctx, e.account, e.id, e.job.Input.AssetName)
	if err != nil {
		return &transfer{false, err}
	}
	client, err := e.service.client(ctx, t)
	if err != nil {
		return &transfer{false, err}
	}
	from := client.NewContainerClient(name)
	blobName := ""
	if len(e.job.Input.Files) > 0 {
		blobName = e.job.Input.Files[0]
	} else if blobName, err = e.firstMedia(ctx, t, from); err != nil {
		return err
	}
	local := filepath.Join(e.dir, "input"+strings.ToLower(safeExt(blobName)))
	f, err := os.OpenFile(local, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("making the local input: %w", err)
	}
	defer f.Close()
	_, err = from.NewBlobClient(blobName).DownloadFile(ctx, f, nil)
	if scratch := (*fs.PathError)(nil); errors.As(err, &scratch) { // says nothing of storage
		return scratchProblem(err)
	}
	const action = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
	if err := e.service.access.observe(ctx, t, t.problem(action, err)); err != nil {
		return &transfer{false, err}
	}
	if err := f.Close(); err != nil {
		return scratchProblem(err)
	}
	e.input, e.base = local, baseName(blobName)
	return nil
}

// scratchProblem is why the work folder did not take an input.
func scratchProblem(err error) error {
	message := "The input could not be written into the server's work folder."
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		message = "The server's work folder has no room for the input. Make room, or give the server a larger folder."
	}
	return &encode.JobError{Code: "ServiceError", Category: "Service", Retry: "MayRetry", Message: message, Err: err}
}

// mediaExtensions are the files that are taken for the input of a job that names none.
var mediaExtensions = []string{".mp4", ".mov", ".m4v", ".mkv", ".mxf", ".avi", ".wmv", ".webm", ".ts", ".mpg", ".mpeg", ".m4a", ".mp3", ".wav", ".flac"}

func safeExt(name string) string {
	if ext := strings.ToLower(path.Ext(name)); slices.Contains(mediaExtensions, ext) {
		return ext
	}
	return ""
}

// firstMedia finds the input of a job that names no file: the first media file of the asset.
func (e *encoding) firstMedia(ctx context.Context, t storageTarget, from *container.Client) (string, error) {
	for pager := from.NewListBlobsFlatPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		const action = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
		if err := e.service.access.observe(ctx, t, t.problem(action, err)); err != nil {
			return "", &transfer{false, err}
		}
		for _, b := range page.Segment.BlobItems {
			if b.Name != nil && safeExt(*b.Name) != "" {
				return *b.Name, nil
			}
		}
	}
	return "", &encode.JobError{
		Code: "ContentMalformed", Category: "Content", Retry: "DoNotRetry",
		Message: fmt.Sprintf("The input asset '%s' holds no media file.", e.job.Input.AssetName),
	}
}

// upload writes the output files into the asset, the server manifest last.
func (e *encoding) upload(ctx context.Context, asset, dir string, files []string) error {
	t, name, err := e.service.assetFiles(ctx, e.account, e.id, asset)
	if err != nil {
		return &transfer{true, err}
	}
	client, err := e.service.client(ctx, t)
	if err != nil {
		return &transfer{true, err}
	}
	to := client.NewContainerClient(name)
	for _, file := range files {
		f, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			return fmt.Errorf("reading an output: %w", err)
		}
		_, err = to.NewBlockBlobClient(file).UploadFile(ctx, f, nil)
		f.Close()
		const action = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
		if err := e.service.access.observe(ctx, t, t.problem(action, err)); err != nil {
			return &transfer{true, err}
		}
	}
	return nil
}
