package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// PathMedium is the ISO that the head was started from: GET with a range; the boot token of a machine that is being made a
// head, or the administrator's.
const PathMedium = "/api/v1/medium"

// Medium reads the ISO that a head was started from, where it lies.
type Medium struct {
	ctx  context.Context
	c    *Client
	Size int64 // bytes
}

// Medium opens the ISO of the head. ctx ends reads too.
func (c *Client) Medium(ctx context.Context) (*Medium, error) {
	resp, err := c.do(ctx, http.MethodHead, PathMedium, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.ContentLength <= 0 {
		return nil, fmt.Errorf("HEAD %s: the head does not say how long its ISO is", c.Base+PathMedium)
	}
	return &Medium{ctx, c, resp.ContentLength}, nil
}

// A read is tried again for as long as a switch needs to learn its ports anew; a copy of gigabytes is not to be lost by that.
const (
	mediumTries = 6
	mediumPause = 5 * time.Second
)

// ReadAt reads from the head. A connection that breaks is made again.
func (m *Medium) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= m.Size {
		return 0, io.EOF
	}
	short := int64(len(p)) > m.Size-off
	want := p
	if short {
		want = p[:m.Size-off]
	}
	if len(want) == 0 {
		return 0, nil
	}
	err := m.read(want, off)
	var answered *ProblemError
	for try := 1; err != nil && !errors.As(err, &answered) && try < mediumTries; try++ {
		select {
		case <-m.ctx.Done():
			return 0, m.ctx.Err()
		case <-time.After(mediumPause):
		}
		err = m.read(want, off)
	}
	if err != nil {
		return 0, err
	}
	if short {
		return len(want), io.EOF
	}
	return len(want), nil
}

func (m *Medium) read(p []byte, off int64) error {
	ctx, cancel := context.WithTimeout(m.ctx, CallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.c.Base+PathMedium, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1))
	if m.c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+m.c.Token)
	}
	resp, err := m.c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return readProblem(resp, http.MethodGet, m.c.Base+PathMedium)
	}
	if _, err := io.ReadFull(resp.Body, p); err != nil {
		return fmt.Errorf("GET %s, bytes from %d on: %w", m.c.Base+PathMedium, off, err)
	}
	return nil
}
