package kernel

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"masthead/rootfs/module"
)

// Kernel is a kernel that an image can boot. Its contents are read when they are needed.
type Kernel struct {
	Release string // uname -r
	Image   File   // vmlinuz
	Config  []byte // what it was configured with; nil where it is not known
	Modules fs.FS  // lib/modules/RELEASE
	// ModulesDir is Modules as a directory of this machine, or "". A build merges it into a root that has no modules
	// of its own.
	ModulesDir string
	Source     string // for people: the package and its version, or a path
}

// File is a file that is opened when its turn comes.
type File struct {
	Size int64
	Open func() (io.ReadCloser, error)
}

// Index reads the kernel's modules, or what an earlier reading left in cache. See module.Cached.
func (k *Kernel) Index(ctx context.Context, cache string, progress func(done, total int)) (*module.Index, error) {
	x, err := module.Cached(ctx, k.Modules, cache, progress)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", k.Release, err)
	}
	return x, nil
}

// fileOf makes a File of a path in a file system.
func fileOf(fsys fs.FS, name string) (File, error) {
	st, err := fs.Stat(fsys, name)
	if err != nil {
		return File{}, err
	}
	return File{Size: st.Size(), Open: func() (io.ReadCloser, error) { return fsys.Open(name) }}, nil
}
