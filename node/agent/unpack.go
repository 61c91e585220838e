package agent

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// copied is what came of an archive.
type copied struct {
	files, dirs, links int
	bytes              int64
}

func (c copied) String() string {
	text := "copied " + count(c.files, "file") + ", " + count(c.bytes, "byte")
	if c.dirs > 0 {
		text += ", " + count(c.dirs, "folder")
	}
	if c.links > 0 {
		text += ", " + count(c.links, "link")
	}
	return text
}

// count is a number of things.
func count[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// unpack lays the files of a tar archive below dest. Each file is there whole, with its mode, or as it was before: it is
// written beside and renamed. Folders that are there keep their mode. All belongs to whom the agent runs as.
func unpack(ctx context.Context, r io.Reader, dest string) (copied, error) {
	var c copied
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return c, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return c, fmt.Errorf("copy: read the archive: %w", errors.Join(err, context.Cause(ctx)))
		}
		if !filepath.IsLocal(h.Name) {
			return c, fmt.Errorf("copy: %q leads out of %s", h.Name, dest)
		}
		if err := c.lay(filepath.Join(dest, h.Name), h, archive); err != nil {
			return c, fmt.Errorf("copy: %w", err)
		}
	}
}

// lay makes one entry of an archive.
func (c *copied) lay(path string, h *tar.Header, content io.Reader) error {
	mode := h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeDir:
		c.dirs++
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			return nil
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return os.Chmod(path, mode) // whatever the umask is
	case tar.TypeSymlink:
		c.links++
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return renameio.Symlink(h.Linkname, path)
	case tar.TypeReg:
		c.files++
		c.bytes += h.Size
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return layFile(path, h, mode, content)
	}
	return fmt.Errorf("%s: entries of type %q are not taken", h.Name, h.Typeflag)
}

func layFile(path string, h *tar.Header, mode fs.FileMode, content io.Reader) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return fmt.Errorf("%s is a folder; end the destination with / to copy into it", path)
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o600))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := io.Copy(f, content); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.Chtimes(f.Name(), h.ModTime, h.ModTime); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
