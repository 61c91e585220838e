package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FullError is a file system without room for what is written.
type FullError struct {
	Dir  string
	Need int64 // bytes; 0: not known
	Free int64
	err  error // of the write that failed; nil: nothing was written
}

func (e *FullError) Error() string {
	text := fmt.Sprintf("%s has %s free", e.Dir, mib(e.Free))
	if e.Need > 0 {
		text = fmt.Sprintf("%s, %s needed", text, mib(e.Need))
	}
	if e.err != nil {
		return e.err.Error() + ": " + text
	}
	return text
}

func (e *FullError) Unwrap() error { return e.err }

// Try is what to do.
func (e *FullError) Try() string {
	return "make room: df -h " + e.Dir + "; masthead image list, masthead image rm OLD; a build can also write elsewhere: --store FOLDER, --output FOLDER"
}

func mib(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// RoomFor refuses size bytes that a folder has no room for, before they are written. A file system that does not say has
// room.
func RoomFor(dir string, size int64) error {
	if free, ok := freeIn(dir); ok && free < size {
		return &FullError{Dir: absolute(dir), Need: size, Free: free}
	}
	return nil
}

// full says of a write that failed for lack of room how much there is, in the file system of the file that it names, or else
// of dir. need is how much the whole takes at most, 0 where that is not known. Other errors are given back.
func full(err error, dir string, need int64) error {
	var told *FullError
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) || errors.As(err, &told) {
		return err
	}
	var path *fs.PathError
	if errors.As(err, &path) && filepath.IsAbs(path.Path) {
		dir = filepath.Dir(path.Path)
	}
	e := &FullError{Dir: absolute(dir), Need: need, err: err}
	e.Free, _ = freeIn(dir)
	return e
}

// absolute is a folder as it is said: "." says nothing.
func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

func freeIn(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * st.Bsize, true
}
