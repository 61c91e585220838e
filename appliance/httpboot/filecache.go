package httpboot

import (
	"os"
	"sync"
	"time"

	"masthead/images"
)

const (
	// maxOpen bounds the files that are kept open: a root's chunks while a rack boots from it.
	maxOpen = 2048
	// keepOpen is how long a file stays open, in use or not, before it is looked at anew: an image that was removed
	// gives its space free that soon, and a file that changed is verified again.
	keepOpen = 10 * time.Second
)

// openFile is a blob's file that several answers may send at once. It is closed when the last has let go.
type openFile struct {
	file  *os.File
	size  int64
	until time.Time
	users int // the cache is one; guarded by the cache's mu
}

// fileCache keeps verified files open: opening, looking at and closing one costs more than sending its header.
type fileCache struct {
	now func() time.Time

	mu    sync.Mutex
	files map[images.Digest]*openFile
	sweep *time.Timer // runs while files are open
}

func newFileCache(now func() time.Time) *fileCache {
	return &fileCache{now: now, files: map[images.Digest]*openFile{}}
}

// get gives a file that is open and fresh, or nil. The caller releases it.
func (c *fileCache) get(d images.Digest) *openFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.files[d]
	if !ok {
		return nil
	}
	if c.now().After(f.until) {
		delete(c.files, d)
		c.drop(f)
		return nil
	}
	f.users++
	return f
}

// add takes a file that was just verified, and gives it back for use. The caller releases it.
func (c *fileCache) add(d images.Digest, file *os.File, size int64) *openFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &openFile{file: file, size: size, until: c.now().Add(keepOpen), users: 1}
	if _, twice := c.files[d]; twice || len(c.files) >= maxOpen {
		return f // for this answer alone
	}
	f.users++
	c.files[d] = f
	if c.sweep == nil {
		c.sweep = time.AfterFunc(keepOpen, c.expire)
	}
	return f
}

func (c *fileCache) release(f *openFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(f)
}

// drop takes one user away. The caller holds mu.
func (c *fileCache) drop(f *openFile) {
	if f.users--; f.users == 0 {
		f.file.Close() // it was only read
	}
}

// expire closes what is old, and comes back as long as there is something.
func (c *fileCache) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for d, f := range c.files {
		if !now.Before(f.until) {
			delete(c.files, d)
			c.drop(f)
		}
	}
	if len(c.files) == 0 {
		c.sweep = nil
		return
	}
	c.sweep.Reset(keepOpen)
}

// close lets go of all files.
func (c *fileCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d, f := range c.files {
		delete(c.files, d)
		c.drop(f)
	}
	if c.sweep != nil {
		c.sweep.Stop()
		c.sweep = nil
	}
}
