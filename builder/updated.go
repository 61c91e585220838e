package builder

import (
	"fmt"
	"time"

	"masthead/rootfs"
)

// markUpdated tells systemd that /etc and /var fit /usr (systemd-update-done(8)). Without the marks every boot of a
// diskless machine rebuilds the linker's cache, the journal's catalogue and more, as after an upgrade; ldconfig alone
// takes as long as all of the rest on a slow machine. A root without systemd is left as it is.
func markUpdated(tree *rootfs.Tree, epoch time.Time) error {
	if n, err := tree.Resolve("usr/lib/systemd"); err != nil || !n.IsDir() {
		return nil
	}
	for _, dir := range []string{"etc", "var"} {
		// No file of the root is newer than the epoch, /usr neither.
		n := textNode(fmt.Sprintf("TIMESTAMP_NSEC=%d\n", epoch.UnixNano()), 0o644)
		n.ModTime = epoch
		if err := tree.Add(dir+"/.updated", n); err != nil {
			return fmt.Errorf("mark %s as up to date: %w", dir, err)
		}
	}
	return nil
}
