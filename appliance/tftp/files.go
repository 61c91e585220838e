package tftp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// A File is one that can be served. Each transfer opens its own and closes it.
type File interface {
	io.ReadSeeker
	io.Closer
}

// Files opens a file by its clean, relative name. An error that is fs.ErrNotExist is an ordinary miss; of any other the
// client is told only that there was one.
type Files func(name string) (File, error)

// FromMap serves contents that are in memory; nobody may change them.
func FromMap(files map[string][]byte) Files {
	return func(name string) (File, error) {
		b, ok := files[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return inMemory{bytes.NewReader(b)}, nil
	}
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// FromFS serves the regular files of fsys. Over a directory take os.Root.FS: os.DirFS follows symbolic links out of it.
func FromFS(fsys fs.FS) Files {
	return func(name string) (File, error) {
		f, err := fsys.Open(name)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file: %w", name, fs.ErrNotExist)
		}
		file, ok := f.(File)
		if err == nil && !ok {
			err = errors.New("file system cannot seek")
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return file, nil
	}
}

// maxName is longer than any loader's name, and shorter than a request may make it.
const maxName = 255

// cleanName turns what a client asked for into a name that Files is asked for, or refuses it. Firmware asks for "/name"
// where it was told "name" (U-Boot, iPXE with a URL); one leading slash is the root that we show. Nothing else is made
// good: a name that needs cleaning was not given by us.
func cleanName(asked string) (string, bool) {
	name := strings.TrimPrefix(asked, "/")
	if len(name) > maxName || name == "." || !fs.ValidPath(name) {
		return "", false
	}
	for _, b := range []byte(name) {
		if b <= ' ' || b >= 0x7f || b == '\\' || b == ':' {
			return "", false
		}
	}
	return name, true
}
