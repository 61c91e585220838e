package node

import (
	"errors"
	"fmt"

	"github.com/u-root/u-root/pkg/libinit"
	"golang.org/x/sys/unix"
)

// kernelMounts are the file systems of the kernel that everything else needs. devtmpfs may be there already: Debian's
// kernels mount it themselves where there is no initramfs (CONFIG_DEVTMPFS_MOUNT).
func kernelMounts() []libinit.Creator {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return []libinit.Creator{
		libinit.Dir{Name: "/proc", Mode: 0o555},
		libinit.Mount{Source: "proc", Target: "/proc", FSType: "proc", Flags: safe},
		libinit.Dir{Name: "/sys", Mode: 0o555},
		libinit.Mount{Source: "sysfs", Target: "/sys", FSType: "sysfs", Flags: safe},
		libinit.Dir{Name: "/dev", Mode: 0o755},
		libinit.Mount{Source: "devtmpfs", Target: "/dev", FSType: "devtmpfs", Flags: unix.MS_NOSUID, Opts: "mode=0755"},
		libinit.Dir{Name: "/dev/pts", Mode: 0o755},
		libinit.Mount{Source: "devpts", Target: "/dev/pts", FSType: "devpts", Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Opts: "gid=5,mode=620,ptmxmode=000"},
		libinit.Dir{Name: "/dev/shm", Mode: 0o1777},
		libinit.Mount{Source: "tmpfs", Target: "/dev/shm", FSType: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Opts: "mode=1777"},
		// /run moves into the root with everything of ours in it; programs run from there, so no MS_NOEXEC.
		libinit.Dir{Name: "/run", Mode: 0o755},
		libinit.Mount{Source: "tmpfs", Target: "/run", FSType: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Opts: "mode=0755"},
		libinit.Dir{Name: "/tmp", Mode: 0o1777},
	}
}

// create applies creators and forgives what is already as wanted.
func create(all []libinit.Creator) error {
	for _, c := range all {
		if err := c.Create(); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}
