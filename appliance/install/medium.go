package install

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"masthead/images"
)

// MediumDevice is the device that is mounted where init mounts what it boots from. mountinfo is the file of that name
// (proc_pid_mountinfo(5)).
func MediumDevice(mountinfo string) (string, error) {
	data, err := os.ReadFile(mountinfo)
	if err != nil {
		return "", fmt.Errorf("find the boot medium: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		at, from := strings.Fields(before), strings.Fields(after)
		if ok && len(at) > 4 && at[4] == images.MediumMount && len(from) > 1 {
			return from[1], nil
		}
	}
	return "", errors.New("this machine was not started from an ISO of masthead")
}

// OpenISO opens an ISO in a file, on a device or in a slot. The caller closes the file.
func OpenISO(path string) (*os.File, *Volume, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open the ISO: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		var v *Volume
		if v, err = OpenVolume(f, size); err == nil {
			return f, v, nil
		}
	}
	f.Close()
	return nil, nil, fmt.Errorf("%s: %w", path, err)
}

// FS is the volume as a file system in which files can be opened by their names, and nothing else.
func (v *Volume) FS() fs.FS { return volumeFS{v} }

type volumeFS struct{ v *Volume }

func (f volumeFS) Open(name string) (fs.File, error) {
	r, err := f.v.File(name)
	if errors.Is(err, images.ErrNotFound) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &volumeFile{r, name}, nil
}

// volumeFile is a file of a volume, and what is known of it.
type volumeFile struct {
	*io.SectionReader
	name string
}

func (f *volumeFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *volumeFile) Close() error               { return nil }
func (f *volumeFile) Name() string               { return f.name[strings.LastIndexByte(f.name, '/')+1:] }
func (f *volumeFile) Mode() fs.FileMode          { return 0o444 }
func (f *volumeFile) ModTime() time.Time         { return time.Time{} }
func (f *volumeFile) IsDir() bool                { return false }
func (f *volumeFile) Sys() any                   { return nil }
