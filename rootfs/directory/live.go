package directory

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Mark tells whether a file is as it was: a change of its content, its metadata or its name moves one of these. The time
// of the last change of the inode (st_ctime) cannot be set by programs.
type Mark struct {
	Ino          uint64
	Size         int64
	Mtime, Ctime unix.Timespec
}

// MarkOf is the mark of what stat(2) shows.
func MarkOf(st *unix.Stat_t) Mark {
	return Mark{Ino: st.Ino, Size: st.Size, Mtime: st.Mtim, Ctime: st.Ctim}
}

// Changed is a file that changed while a directory in use was read: what was read of it may be neither its old content
// nor its new one.
type Changed struct{ Path string }

func (c *Changed) Error() string { return fmt.Sprintf("%s changed while it was read", c.Path) }

// openLive opens a file that must be as it was seen, now and when the last of its bytes was read.
func openLive(path, name string, sparse bool, seen Mark) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) {
		return nil, &Changed{name}
	}
	if err != nil {
		return nil, err
	}
	l := &liveFile{f: f, from: f, name: name, seen: seen}
	if sparse {
		l.from = &sparseFile{f: f, size: seen.Size}
	}
	if err := l.check(); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// liveFile reads a file of a directory in use.
type liveFile struct {
	f    *os.File
	from io.Reader
	name string
	seen Mark
	read int64
}

func (l *liveFile) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(l.f.Fd()), &st); err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	if MarkOf(&st) != l.seen {
		return &Changed{l.name}
	}
	return nil
}

// Read gives the last bytes only if the file has not changed up to then.
func (l *liveFile) Read(p []byte) (int, error) {
	n, err := l.from.Read(p)
	l.read += int64(n)
	if l.read >= l.seen.Size || err == io.EOF {
		if changed := l.check(); changed != nil {
			return 0, changed
		}
	}
	return n, err
}

func (l *liveFile) Close() error { return l.f.Close() }

// OpenLive gives an Open for a file of a directory in use that must be as mark says until it was read.
func OpenLive(path, name string, mark Mark) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return openLive(path, name, false, mark) }
}
