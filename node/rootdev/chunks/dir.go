package chunks

import (
	"os"
	"sync"

	"masthead/images"
)

// Dir keeps chunks as files in a directory, one each, named by the digest. It holds the directory open, so it goes on
// working when the root of the file system changes around it. Chunks are never removed: a disk that is given to this
// holds an image or two. It is a cache, so whatever fails is as if the chunk were not there.
type Dir struct {
	root  *os.Root
	bound int64

	mu   sync.Mutex
	size int64
}

// OpenDir opens a directory that exists, to hold at most bound bytes. Close it afterwards.
func OpenDir(path string, bound int64) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{root: root, bound: bound}
	f, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		root.Close()
		return nil, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			d.size += info.Size()
		}
	}
	return d, nil
}

// Close lets go of the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Get implements Keeper. A file that is damaged is removed.
func (d *Dir) Get(c images.Chunk) []byte {
	data, err := d.root.ReadFile(c.Digest.Hex())
	if err != nil {
		return nil
	}
	if verify(c, data) != nil {
		if d.root.Remove(c.Digest.Hex()) == nil {
			d.grow(-int64(len(data)))
		}
		return nil
	}
	return data
}

// Put implements Keeper. The file appears complete, by rename, but is not synced: Get verifies.
func (d *Dir) Put(c images.Chunk, data []byte) {
	if !d.grow(c.Size) {
		return
	}
	tmp := c.Digest.Hex() + ".tmp"
	if err := d.root.WriteFile(tmp, data, 0o600); err == nil && d.root.Rename(tmp, c.Digest.Hex()) == nil {
		return
	}
	d.root.Remove(tmp)
	d.grow(-c.Size)
}

// grow counts n bytes more if they fit.
func (d *Dir) grow(n int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.size+n > d.bound {
		return false
	}
	d.size += n
	return true
}
