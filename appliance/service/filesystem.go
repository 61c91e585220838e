package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// askGrace is what processes that use a file system get between SIGTERM and SIGKILL when it is to be unmounted.
	askGrace = 3 * time.Second
	// unmountEvery is the time between two tries to unmount it meanwhile: there is no event for its last file being closed.
	unmountEvery = 50 * time.Millisecond
)

// filesystem is a file system that is mounted by mount(2), or by the program of its type (mount.nfs) where there is one.
// It is never unmounted lazily: what is still in use would go on writing after another head has taken over.
type filesystem struct {
	world
	Filesystem
	env []string
}

func (f filesystem) start(ctx context.Context) error {
	table, err := readMounts()
	if err != nil {
		return &failure{error: err, clean: true}
	}
	if top, ok := table.top(f.Path); ok {
		if f.is(top) {
			return nil
		}
		return &failure{error: fmt.Errorf("%s is mounted on %s already", top.source, f.Path), clean: true}
	}
	device := resolve(f.Device)
	if err := os.MkdirAll(f.Path, 0o755); err != nil {
		return &failure{error: fmt.Errorf("make the mount point: %w", err), clean: true}
	}
	if f.Fsck {
		if err := f.fsck(ctx, device); err != nil {
			return err
		}
	}
	if _, err := find("mount."+f.Type, []string{"PATH=/sbin:/usr/sbin"}); err == nil {
		return f.byProgram(ctx, device)
	}
	flags, data := mountOptions(f.Options)
	if err := unix.Mount(device, f.Path, f.Type, flags, data); err != nil {
		return &failure{error: fmt.Errorf("mount %s on %s as %s: %w", device, f.Path, f.Type, err), clean: true}
	}
	const own = unix.MS_BIND | unix.MS_REC
	if flags&unix.MS_BIND != 0 && flags&^uintptr(own) != 0 {
		// A bind mount takes its flags only afterwards (mount(2)).
		if err := unix.Mount("", f.Path, "", flags&^uintptr(unix.MS_REC)|unix.MS_REMOUNT, ""); err != nil {
			return fmt.Errorf("mount %s with %s: %w", f.Path, strings.Join(f.Options, ","), err)
		}
	}
	return context.Cause(ctx)
}

// byProgram mounts as mount(8) would for a type that has a program of its own.
func (f filesystem) byProgram(ctx context.Context, device string) error {
	argv := []string{"mount." + f.Type, device, f.Path}
	if len(f.Options) > 0 {
		argv = append(argv, "-o", strings.Join(f.Options, ","))
	}
	o, err := f.run(ctx, command{argv: argv, env: f.env})
	if err != nil {
		return withOutput(err, o)
	}
	if o.exit != 0 {
		return exitError(o, argv[0])
	}
	return nil
}

// fsck repairs what can be repaired without a question.
func (f filesystem) fsck(ctx context.Context, device string) error {
	program := "fsck." + f.Type
	o, err := f.run(ctx, command{argv: []string{program, "-p", device}, env: f.env})
	if err != nil {
		return &failure{error: withOutput(err, o), clean: true, hard: errors.Is(err, errNotThere)}
	}
	// 1: errors were corrected (fsck(8)).
	if o.exit > 1 {
		return &failure{error: exitError(o, program), clean: true, hard: true}
	}
	return nil
}

func (f filesystem) check(context.Context) (verdict, error) {
	table, err := readMounts()
	if err != nil {
		return bad, err
	}
	i := slices.IndexFunc(table, func(m mount) bool { return m.path == filepath.Clean(f.Path) && f.is(m) })
	if i < 0 {
		return down, errors.New("is not mounted")
	}
	if top, _ := table.top(f.Path); top.id != table[i].id && !f.is(top) {
		return bad, fmt.Errorf("%s is mounted over it", top.source)
	}
	if table[i].readOnly && !slices.Contains(f.Options, "ro") {
		return bad, errors.New("became read-only, as after an error of the disk")
	}
	return up, nil
}

// stop unmounts it, and before it what is mounted below.
func (f filesystem) stop(ctx context.Context) error {
	for range 1000 {
		table, err := readMounts()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(table, func(m mount) bool { return m.path == filepath.Clean(f.Path) && f.is(m) })
		if i < 0 {
			return nil
		}
		if err := f.unmount(ctx, table.leaf(table[i])); err != nil {
			return err
		}
	}
	return fmt.Errorf("unmount %s: it is mounted again and again", f.Path)
}

// unmount unmounts one mount; who uses it is ended first, if that is allowed.
func (f filesystem) unmount(ctx context.Context, m mount) error {
	began := time.Now()
	var signalled time.Time
	tick := time.NewTicker(unmountEvery)
	defer tick.Stop()
	for {
		err := unix.Unmount(m.path, unix.UMOUNT_NOFOLLOW)
		if err == nil || errors.Is(err, unix.EINVAL) { // not a mount any more
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount %s: %w", m.path, err)
		}
		if f.KeepUsers || time.Since(signalled) > time.Second {
			users := m.users()
			if f.KeepUsers {
				return fmt.Errorf("unmount %s: it is used by %s", m.path, describe(users))
			}
			signal := syscall.SIGTERM
			if time.Since(began) > askGrace {
				signal = syscall.SIGKILL
			}
			for _, u := range users {
				f.log.Warn("ends a process that uses a file system", "path", m.path, "pid", u.pid, "name", u.name, "signal", signal)
				_ = syscall.Kill(u.pid, signal)
			}
			signalled = time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("unmount %s: it is used by %s: %w", m.path, describe(m.users()), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// is reports whether a mount is of this file system.
func (f filesystem) is(m mount) bool {
	if slices.Contains(f.Options, "bind") || slices.Contains(f.Options, "rbind") {
		a, err := os.Stat(f.Device)
		b, err2 := os.Stat(m.path)
		return err == nil && err2 == nil && os.SameFile(a, b)
	}
	device := resolve(f.Device)
	if m.source == f.Device || m.source == device {
		return true
	}
	if real, err := filepath.EvalSymlinks(device); err == nil && real == m.source {
		return true
	}
	var st unix.Stat_t
	return unix.Stat(device, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK &&
		unix.Major(st.Rdev) == m.major && unix.Minor(st.Rdev) == m.minor
}

// resolve gives the device of UUID=… and the like, as udev links it (fstab(5)).
func resolve(device string) string {
	for tag, dir := range map[string]string{"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"} {
		if value, ok := strings.CutPrefix(device, tag+"="); ok {
			return filepath.Join("/dev/disk", dir, strings.Trim(value, `"`))
		}
	}
	return device
}

// mountFlags are the options that are flags of mount(2); off takes a flag away.
var mountFlags = map[string]struct {
	flag uintptr
	off  bool
}{
	"ro": {unix.MS_RDONLY, false}, "rw": {unix.MS_RDONLY, true},
	"nosuid": {unix.MS_NOSUID, false}, "suid": {unix.MS_NOSUID, true},
	"nodev": {unix.MS_NODEV, false}, "dev": {unix.MS_NODEV, true},
	"noexec": {unix.MS_NOEXEC, false}, "exec": {unix.MS_NOEXEC, true},
	"sync": {unix.MS_SYNCHRONOUS, false}, "async": {unix.MS_SYNCHRONOUS, true},
	"dirsync": {unix.MS_DIRSYNC, false}, "lazytime": {unix.MS_LAZYTIME, false}, "nolazytime": {unix.MS_LAZYTIME, true},
	"noatime": {unix.MS_NOATIME, false}, "atime": {unix.MS_NOATIME, true},
	"nodiratime": {unix.MS_NODIRATIME, false}, "diratime": {unix.MS_NODIRATIME, true},
	"relatime": {unix.MS_RELATIME, false}, "norelatime": {unix.MS_RELATIME, true},
	"strictatime": {unix.MS_STRICTATIME, false}, "nostrictatime": {unix.MS_STRICTATIME, true},
	"bind": {unix.MS_BIND, false}, "rbind": {unix.MS_BIND | unix.MS_REC, false},
	// For others than the kernel (mount(8), fstab(5), systemd.mount(5)).
	"defaults": {}, "auto": {}, "noauto": {}, "user": {}, "nouser": {}, "users": {}, "owner": {}, "group": {}, "_netdev": {}, "nofail": {},
}

// mountOptions splits options into flags of mount(2) and what the file system takes.
func mountOptions(options []string) (flags uintptr, data string) {
	var rest []string
	for _, list := range options {
		for o := range strings.SplitSeq(list, ",") {
			known, ok := mountFlags[o]
			switch {
			case ok && known.off:
				flags &^= known.flag
			case ok:
				flags |= known.flag
			case o == "" || strings.HasPrefix(o, "x-") || strings.HasPrefix(o, "comment="):
			default:
				rest = append(rest, o)
			}
		}
	}
	return flags, strings.Join(rest, ",")
}
