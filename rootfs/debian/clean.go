package debian

import (
	"path"

	"masthead/rootfs"
)

// removed is what a root must not bring along, as patterns of path.Match: it differs between two bootstraps of the same
// packages, or belongs to the machine that made it, or would be one secret that all machines share.
var removed = []string{
	"etc/hostname",                 // mmdebstrap copies the host's
	"etc/resolv.conf",              // likewise
	"etc/ssh/ssh_host_*_key",       // made by the package when it was configured
	"etc/ssh/ssh_host_*_key.pub",   // likewise
	"run/*",                        // a tmpfs in the running system
	"tmp/*",                        //
	"var/cache/apt/*",              // the packages themselves, and apt's index of them
	"var/cache/debconf/*-old",      //
	"var/cache/ldconfig/aux-cache", // has inode numbers and times
	"var/lib/apt/lists/*",          //
	"var/lib/dbus/machine-id",      //
	"var/lib/dpkg/*-old",           //
	"var/lib/systemd/random-seed",  //
	"var/lib/systemd/credential.secret",
}

// clean takes out of a bootstrapped root what removed names and what was logged, and empties the machine-id: systemd
// then makes one at each boot, without taking it for the first one (machine-id(5)).
func clean(tree *rootfs.Tree) error {
	var gone []string
	for p, n := range tree.All() {
		if matches(p) || (n.IsRegular() && n.Size > 0 && under("var/log", p)) {
			gone = append(gone, p)
		}
	}
	for _, p := range gone {
		if err := tree.Remove(p); err != nil {
			return err
		}
	}
	id, err := tree.Lookup("etc/machine-id")
	if err != nil || !id.IsRegular() {
		return nil // no systemd
	}
	n := *id
	n.Size, n.Open = 0, nil
	return tree.Add("etc/machine-id", n)
}

func matches(p string) bool {
	for _, pattern := range removed {
		if ok, err := path.Match(pattern, p); ok && err == nil {
			return true
		}
	}
	return false
}

func under(dir, p string) bool {
	return len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/'
}
