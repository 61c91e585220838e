package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Apply writes what was planned into an upper layer that is empty.
func (p *plan) Apply(ctx context.Context, to string, progress func(done, total int64)) error {
	a := &applier{plan: p, to: to, links: map[uint64]string{}, progress: progress}
	if err := a.run(ctx); err != nil {
		return fmt.Errorf("carry the overlay: %w", err)
	}
	return nil
}

type applier struct {
	*plan
	to       string
	links    map[uint64]string // files with several names: the first one, by inode
	done     int64
	progress func(done, total int64)
}

func (a *applier) run(ctx context.Context) error {
	needed := a.neededDirs()
	for _, e := range a.entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		switch {
		case e.Do == Drop:
		case e.Kind == Directory:
			if needed[e.Path] || !e.InNext || Hides(e.Entry) {
				err = a.directory(e)
			}
		case e.Do == Merge:
			err = a.merge(e)
		default:
			err = a.file(e)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return a.status()
}

// neededDirs are the directories above something that is carried.
func (a *applier) neededDirs() map[string]bool {
	needed := map[string]bool{}
	above := func(path string) {
		for dir := filepath.Dir(path); dir != "." && !needed[dir]; dir = filepath.Dir(dir) {
			needed[dir] = true
		}
	}
	if len(a.report.Packages) > 0 {
		above(statusFile)
	}
	for _, e := range a.entries {
		if e.Do != Drop && (e.Kind != Directory || !e.InNext || Hides(e.Entry)) && e.Path != statusFile {
			above(e.Path)
		}
	}
	return needed
}

func (a *applier) directory(e planned) error {
	to := filepath.Join(a.to, e.Path)
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if Hides(e.Entry) {
		for _, attr := range opaqueAttrs {
			if unix.Lsetxattr(to, attr, []byte("y"), 0) == nil {
				break
			}
		}
	}
	return a.attributes(e, to)
}

// file copies anything that is no directory.
func (a *applier) file(e planned) error {
	from, to := filepath.Join(a.roots.Upper, e.Path), filepath.Join(a.to, e.Path)
	st, ok := e.info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no inode")
	}
	if st.Nlink > 1 {
		if first := a.links[st.Ino]; first != "" {
			return os.Link(first, to)
		}
		a.links[st.Ino] = to
	}
	switch mode := e.info.Mode(); {
	case mode.IsRegular():
		if err := a.copy(from, to); err != nil {
			return err
		}
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err == nil {
			err = os.Symlink(target, to)
		}
		if err != nil {
			return err
		}
	case mode&fs.ModeSocket != 0:
		return nil // whoever listens makes it again
	default:
		if err := unix.Mknod(to, st.Mode, int(st.Rdev)); err != nil {
			return err
		}
	}
	return a.attributes(e, to)
}

func (a *applier) copy(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, r)
	if a.done += n; a.progress != nil {
		a.progress(a.done, a.report.Bytes)
	}
	return errors.Join(err, w.Close())
}

// attributes gives a copy the owner, mode, extended attributes and time of what it is one of.
func (a *applier) attributes(e planned, to string) error {
	st, ok := e.info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no inode")
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyXattrs(filepath.Join(a.roots.Upper, e.Path), to); err != nil {
		return err
	}
	if e.info.Mode()&fs.ModeSymlink == 0 {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return err
		}
	}
	if e.Kind == Directory {
		return nil // what is put into it changes its time anyway
	}
	times := []unix.Timespec{{Sec: st.Atim.Sec, Nsec: st.Atim.Nsec}, {Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW)
}

// copyXattrs copies extended attributes, but for those of the overlay itself: they name inodes of the old image.
func copyXattrs(from, to string) error {
	n, err := unix.Llistxattr(from, nil)
	if err != nil || n == 0 {
		return ignoreUnsupported(err)
	}
	names := make([]byte, n)
	if n, err = unix.Llistxattr(from, names); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		size, err := unix.Lgetxattr(from, name, nil)
		if err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		value := make([]byte, size)
		if size, err = unix.Lgetxattr(from, name, value); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
		if err := unix.Lsetxattr(to, name, value[:size], 0); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// merge writes a file that is put together of this machine's and the new image's lines.
func (a *applier) merge(e planned) error {
	if e.Path == statusFile {
		return nil // status writes it, also where this machine has changed nothing in it
	}
	own, err := os.ReadFile(filepath.Join(a.roots.Upper, e.Path))
	if err != nil {
		return err
	}
	to := filepath.Join(a.to, e.Path)
	if err := os.WriteFile(to, []byte(MergeLines(string(own), readText(a.roots.Next, e.Path))), 0o600); err != nil {
		return err
	}
	return a.attributes(e, to)
}

// status writes dpkg's list of packages, where this machine has packages of its own.
func (a *applier) status() error {
	if len(a.report.Packages) == 0 {
		return nil // the new image's is right
	}
	to := filepath.Join(a.to, statusFile)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, []byte(StatusOf(a.choices)), 0o644)
}

func rdev(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Rdev
	}
	return 1 // not a whiteout
}
