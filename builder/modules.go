package builder

import (
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"masthead/rootfs"
	"masthead/rootfs/kernel"
	"masthead/rootfs/module"
)

// mergeModules lays a kernel's modules over a root, with the files that depmod would write: kernel packages carry
// none, and udev in the root cannot load a driver without them.
func mergeModules(tree *rootfs.Tree, krn *kernel.Kernel, index *module.Index, epoch time.Time) error {
	base := "lib/modules/" + krn.Release
	err := fs.WalkDir(krn.Modules, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		path := base
		if name != "." {
			path = base + "/" + name
		}
		switch {
		case e.IsDir():
			return tree.Add(path, rootfs.Node{Mode: unix.S_IFDIR | 0o755, ModTime: epoch})
		case st.Mode().IsRegular():
			return tree.Add(path, rootfs.Node{
				Mode: unix.S_IFREG | 0o644, ModTime: epoch, Size: st.Size(),
				Open: func() (io.ReadCloser, error) { return krn.Modules.Open(name) },
			})
		}
		return nil // "build" and "source" link to headers that no machine has
	})
	if err != nil {
		return fmt.Errorf("merge the modules of %s: %w", krn.Release, err)
	}
	files, err := index.Files()
	if err != nil {
		return fmt.Errorf("index the modules of %s: %w", krn.Release, err)
	}
	for _, f := range files {
		n := dataNode(f.Data, 0o644)
		n.ModTime = epoch
		if err := tree.Add(base+"/"+f.Name, n); err != nil {
			return fmt.Errorf("index the modules of %s: %w", krn.Release, err)
		}
	}
	return nil
}
