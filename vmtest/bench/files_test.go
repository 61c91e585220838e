package bench

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"masthead/images"
)

// writeFile writes a file anew, with the folders that lead to it: a link that is there is replaced, not followed.
func writeFile(b testing.TB, path, content string, mode fs.FileMode) {
	b.Helper()
	makeRoom(b, path)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		b.Fatal(err)
	}
}

// link is writeFile for a symbolic link.
func link(b testing.TB, path, target string) {
	b.Helper()
	makeRoom(b, path)
	if err := os.Symlink(target, path); err != nil {
		b.Fatal(err)
	}
}

// copyFile copies a file, or what a link names, with its mode.
func copyFile(b testing.TB, to, from string) {
	b.Helper()
	makeRoom(b, to)
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		b.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, st.Mode().Perm())
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		b.Fatal(err)
	}
}

func makeRoom(b testing.TB, path string) {
	b.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
}

// stateDiskSize is room for the images on it and for the head's state.
const stateDiskSize = 2 << 30

// stateDisk makes a head's state disk out of the folder state.
func stateDisk(b testing.TB, file, state string) {
	b.Helper()
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(f.Truncate(stateDiskSize), f.Close()); err != nil {
		b.Fatal(err)
	}
	run(b, "mkfs.ext4", "-q", "-F", "-L", images.StateLabel, "-d", state, file)
}
