package tools

import (
	"fmt"
	"os"
	"strings"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

func mounts() []Tool {
	return []Tool{
		own("mount", "[-t TYPE] [-o OPTIONS] [DEVICE DIR]", "mount a file system, or list what is mounted", "t:o:rn", doMount),
		own("umount", "[-fl] DIR...", "unmount file systems", "fl", doUmount),
		own("chroot", "DIR [COMMAND]", "run a command, or sh, with another root", "+", chroot),
	}
}

// mountFlags are the options that are flags of mount(2) and not data for the file system. A leading ! takes it away.
var mountFlags = map[string]struct {
	flag  uintptr
	clear bool
}{
	"defaults": {}, "rw": {unix.MS_RDONLY, true}, "ro": {unix.MS_RDONLY, false},
	"nosuid": {unix.MS_NOSUID, false}, "suid": {unix.MS_NOSUID, true},
	"nodev": {unix.MS_NODEV, false}, "dev": {unix.MS_NODEV, true},
	"noexec": {unix.MS_NOEXEC, false}, "exec": {unix.MS_NOEXEC, true},
	"sync": {unix.MS_SYNCHRONOUS, false}, "async": {unix.MS_SYNCHRONOUS, true},
	"noatime": {unix.MS_NOATIME, false}, "atime": {unix.MS_NOATIME, true},
	"nodiratime": {unix.MS_NODIRATIME, false}, "relatime": {unix.MS_RELATIME, false},
	"strictatime": {unix.MS_STRICTATIME, false}, "lazytime": {unix.MS_LAZYTIME, false},
	"remount": {unix.MS_REMOUNT, false}, "bind": {unix.MS_BIND, false}, "rbind": {unix.MS_BIND | unix.MS_REC, false},
	"move": {unix.MS_MOVE, false}, "private": {unix.MS_PRIVATE, false}, "rprivate": {unix.MS_PRIVATE | unix.MS_REC, false},
	"shared": {unix.MS_SHARED, false}, "rshared": {unix.MS_SHARED | unix.MS_REC, false},
	"slave": {unix.MS_SLAVE, false}, "rslave": {unix.MS_SLAVE | unix.MS_REC, false},
}

// mountOptions splits -o into flags and data.
func mountOptions(opts []string) (flags uintptr, data string) {
	var rest []string
	for _, list := range opts {
		for _, o := range strings.Split(list, ",") {
			f, known := mountFlags[o]
			switch {
			case o == "":
			case !known:
				rest = append(rest, o)
			case f.clear:
				flags &^= f.flag
			default:
				flags |= f.flag
			}
		}
	}
	return flags, strings.Join(rest, ",")
}

func doMount(c *call) error {
	if len(c.args) == 0 {
		return listMounts(c)
	}
	flags, data := mountOptions(c.flags["o"])
	if c.has("r") {
		flags |= unix.MS_RDONLY
	}
	const noDevice = unix.MS_REMOUNT | unix.MS_PRIVATE | unix.MS_SHARED | unix.MS_SLAVE
	dev, dir := "none", c.args[len(c.args)-1]
	switch {
	case len(c.args) == 2:
		dev = c.args[0]
	case len(c.args) != 1 || flags&noDevice == 0:
		return errUsage
	}
	dir = c.path(dir)
	fstype := c.value("t", "")
	if fstype == "" && flags&(noDevice|unix.MS_BIND|unix.MS_MOVE) == 0 {
		_, err := mount.TryMount(c.path(dev), dir, data, flags)
		return err
	}
	if strings.Contains(dev, "/") || flags&unix.MS_BIND != 0 {
		dev = c.path(dev)
	}
	_, err := mount.Mount(dev, dir, fstype, data, flags)
	return err
}

func listMounts(c *call) error {
	table, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range table {
		if t := c.value("t", m.fstype); t == m.fstype {
			c.printf("%s on %s type %s (%s)\n", m.device, m.dir, m.fstype, m.options)
		}
	}
	return nil
}

// mounted is a line of /proc/self/mounts.
type mounted struct{ device, dir, fstype, options string }

func readMounts() ([]mounted, error) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(b)), nil
}

func parseMounts(s string) []mounted {
	// fs/proc_namespace.c, mangle: these characters are written in octal.
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#")
	var out []mounted
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) >= 4 {
			out = append(out, mounted{plain.Replace(f[0]), plain.Replace(f[1]), f[2], f[3]})
		}
	}
	return out
}

func doUmount(c *call) error {
	if len(c.args) == 0 {
		return errUsage
	}
	var failed error
	for _, dir := range c.args {
		if err := mount.Unmount(c.path(dir), c.has("f"), c.has("l")); err != nil {
			failed = c.warn(err)
		}
	}
	return failed
}

func chroot(c *call) error {
	if len(c.args) == 0 {
		return errUsage
	}
	if err := unix.Chroot(c.path(c.args[0])); err != nil {
		return fmt.Errorf("change root to %s: %w", c.args[0], err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("change directory: %w", err)
	}
	argv := c.args[1:]
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
	}
	return replace(argv)
}
