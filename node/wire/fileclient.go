package wire

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"masthead/images"
)

// Image shows a tag and what it has meant.
func (c *Client) Image(ctx context.Context, tag string) (ImageTag, error) {
	return ask[ImageTag](ctx, c, http.MethodGet, PathImage+url.PathEscape(tag), nil)
}

// TagImage makes a tag mean an image that is on the head.
func (c *Client) TagImage(ctx context.Context, tag string, change ImageChange) (ImageChanged, error) {
	return ask[ImageChanged](ctx, c, http.MethodPut, PathImage+url.PathEscape(tag), change)
}

// RollbackImage makes a tag mean what it meant before.
func (c *Client) RollbackImage(ctx context.Context, tag string, change ImageChange) (ImageChanged, error) {
	return ask[ImageChanged](ctx, c, http.MethodPost, PathImage+url.PathEscape(tag)+"/rollback", change)
}

// RemoveImage removes a tag, or says what it means. One that is in use is removed only by force.
func (c *Client) RemoveImage(ctx context.Context, tag string, dryRun, force bool) (ImageChanged, error) {
	q := url.Values{}
	if dryRun {
		q.Set("dry_run", "")
	}
	if force {
		q.Set("force", "")
	}
	path := PathImage + url.PathEscape(tag)
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return ask[ImageChanged](ctx, c, http.MethodDelete, path, nil)
}

// Lacks lists what of an image is not on the head, which must have its manifest.
func (c *Client) Lacks(ctx context.Context, manifest images.Digest) ([]images.Blob, error) {
	return ask[[]images.Blob](ctx, c, http.MethodGet, PathBlob+string(manifest)+PathLacks, nil)
}

// PutBlob sends a blob of an image. Only ctx bounds the time.
func (c *Client) PutBlob(ctx context.Context, b images.Blob, r io.Reader) error {
	return c.send(ctx, PathBlob+string(b.Digest), b.Size, r)
}

// send puts size bytes.
func (c *Client) send(ctx context.Context, path string, size int64, r io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.Base+path, r)
	if err != nil {
		return fmt.Errorf("PUT %s: %w", c.Base+path, err)
	}
	req.ContentLength = size
	if size == 0 {
		req.Body = http.NoBody
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return err // a *url.Error, which holds the method, the URL and the errno
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return readProblem(resp, http.MethodPut, c.Base+path)
	}
	return nil
}

// Aside lists what the head has set aside.
func (c *Client) Aside(ctx context.Context) (Aside, error) {
	return ask[Aside](ctx, c, http.MethodGet, PathAside, nil)
}

// RemoveAside deletes what the head has set aside, and lists what that was.
func (c *Client) RemoveAside(ctx context.Context) (Aside, error) {
	return ask[Aside](ctx, c, http.MethodDelete, PathAside, nil)
}

// Files lists the files that are the same on all heads.
func (c *Client) Files(ctx context.Context) ([]File, error) {
	return ask[[]File](ctx, c, http.MethodGet, PathFiles, nil)
}

func filePath(path string, dryRun bool) string {
	query := url.Values{"path": {path}}
	if dryRun {
		query.Set("dry_run", "true")
	}
	return PathFile + "?" + query.Encode()
}

// File shows one of them, with its history.
func (c *Client) File(ctx context.Context, path string) (File, error) {
	return ask[File](ctx, c, http.MethodGet, filePath(path, false), nil)
}

// AddFile adds a file or a version of one, whose content was sent before, or says what would change.
func (c *Client) AddFile(ctx context.Context, change FileChange) (FileChanged, error) {
	return ask[FileChanged](ctx, c, http.MethodPost, PathFiles, change)
}

// RollbackFile gives a file its version before.
func (c *Client) RollbackFile(ctx context.Context, change FileChange) (FileChanged, error) {
	return ask[FileChanged](ctx, c, http.MethodPost, PathFileRollback, change)
}

// RestoreFile puts the cluster's version of a file in place on all heads.
func (c *Client) RestoreFile(ctx context.Context, change FileChange) (FileChanged, error) {
	return ask[FileChanged](ctx, c, http.MethodPost, PathFileRestore, change)
}

// RemoveFile keeps a file the same no longer. It stays where it is.
func (c *Client) RemoveFile(ctx context.Context, path string, dryRun bool) (FileChanged, error) {
	return ask[FileChanged](ctx, c, http.MethodDelete, filePath(path, dryRun), nil)
}

// FileDiff says what differs where, asked of all heads now. An empty path is all files.
func (c *Client) FileDiff(ctx context.Context, path string) ([]FileDifference, error) {
	query := ""
	if path != "" {
		query = "?" + url.Values{"path": {path}}.Encode()
	}
	return ask[[]FileDifference](ctx, c, http.MethodGet, PathFileDiff+query, nil)
}

// PutFileBlob sends the content of a file.
func (c *Client) PutFileBlob(ctx context.Context, b images.Blob, r io.Reader) error {
	return c.send(ctx, PathFileBlob+string(b.Digest), b.Size, r)
}

// FileBlob gives the content of a version of a file. The caller closes it and verifies.
func (c *Client) FileBlob(ctx context.Context, d images.Digest) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, PathFileBlob+string(d), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
