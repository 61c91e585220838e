package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"masthead/node/wire"
)

// tree is what is copied to nodes.
type tree struct {
	dest    string // folder that the names are below, there
	entries []treeEntry
	files   int
	bytes   int64
}

// treeEntry is one file, folder or link.
type treeEntry struct {
	path, name string // here, and below dest
	info       fs.FileInfo
	link       string
}

func (t tree) String() string {
	return fmt.Sprintf("%d files, %s, to %s", t.files, bytesText(t.bytes), t.dest)
}

// listTree lists what src is, and what it is to be called: DEST, or with / at its end a name in it.
func listTree(src, dest string) (tree, error) {
	root, err := os.Stat(src)
	if err != nil {
		return tree{}, fmt.Errorf("copy: %w", err)
	}
	src = filepath.Clean(src)
	base, err := filepath.Abs(src) // "." has a name too
	if err != nil {
		return tree{}, fmt.Errorf("copy: %w", err)
	}
	into := strings.HasSuffix(dest, "/")
	dest = path.Clean(dest)
	if into {
		dest = path.Join(dest, filepath.Base(base))
	}
	if dest == "/" && !root.IsDir() {
		return tree{}, errors.New("copy: / is no name for a file")
	}
	t := tree{dest: dest}
	if !root.IsDir() {
		t.dest = path.Dir(dest)
		return t, t.add(src, path.Base(dest), root)
	}
	err = filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if p == src {
			info = root // it may be a link to the folder
		}
		name, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		return t.add(p, filepath.ToSlash(name), info)
	})
	if err != nil {
		return tree{}, fmt.Errorf("copy: %w", err)
	}
	return t, nil
}

func (t *tree) add(p, name string, info fs.FileInfo) error {
	e := treeEntry{path: p, name: name, info: info}
	switch info.Mode().Type() {
	case 0:
		t.files++
		t.bytes += info.Size()
	case fs.ModeDir:
	case fs.ModeSymlink:
		var err error
		if e.link, err = os.Readlink(p); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s is neither a file, a folder nor a link", p)
	}
	if t.bytes > wire.MaxCommandInput {
		return fmt.Errorf("more than %s", bytesText(wire.MaxCommandInput))
	}
	t.entries = append(t.entries, e)
	return nil
}

// archive reads the tree as a tar archive. It must be closed.
func (t tree) archive() io.ReadCloser {
	r, w := io.Pipe()
	go func() { // ends with the archive, or when r is closed
		out := tar.NewWriter(w)
		err := t.write(out)
		if err == nil {
			err = out.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

func (t tree) write(out *tar.Writer) error {
	for _, e := range t.entries {
		h, err := tar.FileInfoHeader(e.info, e.link)
		if err != nil {
			return fmt.Errorf("copy %s: %w", e.path, err)
		}
		// Names and numbers of owners mean nothing on another machine.
		h.Name, h.Format, h.Uid, h.Gid, h.Uname, h.Gname = e.name, tar.FormatPAX, 0, 0, "", ""
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("copy %s: %w", e.path, err)
		}
		if !e.info.Mode().IsRegular() {
			continue
		}
		if err := writeContent(out, e.path); err != nil {
			return fmt.Errorf("copy %s: %w", e.path, err)
		}
	}
	return nil
}

func writeContent(out io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f) // a file that has grown or shrunk meanwhile is an error of the archive
	return err
}
