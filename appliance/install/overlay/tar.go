package overlay

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrRecord is how tar archives carry extended attributes (star(1), GNU tar).
const xattrRecord = "SCHILY.xattr."

// Write writes the upper layer of an overlay to w as a tar archive, with what makes it one: whiteouts (character devices
// 0:0) and attributes (Documentation/filesystems/overlayfs.rst). skip says what stays out, by its path from the root
// without a slash in front; a folder stays out with all that is below it. Sockets always stay out.
//
// It blocks as w does, and ends between two entries when ctx does. After an error the archive is not whole. Only root sees
// all attributes.
func Write(ctx context.Context, upper string, w io.Writer, skip func(string) bool) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(upper, func(file string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		name, e := filepath.Rel(upper, file)
		if err = errors.Join(err, e); err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		if skip(filepath.ToSlash(name)) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		return writeEntry(out, file, name)
	})
	return errors.Join(err, out.Close())
}

func writeEntry(out *tar.Writer, file, name string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil // nobody listens at it on another machine
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Format, h.Uname, h.Gname = filepath.ToSlash(name), tar.FormatPAX, "", "" // numbers: the images are the same
	if h.PAXRecords, err = xattrs(file); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := out.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	// The head goes on meanwhile: a file that has become shorter is filled up, as one is that a power cut has caught.
	n, err := io.CopyN(out, f, info.Size())
	if err == io.EOF {
		_, err = io.CopyN(out, nothing{}, info.Size()-n)
	}
	return err
}

// nothing is zeros without end.
type nothing struct{}

func (nothing) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// xattrs are the extended attributes of a file. Those by which overlayfs knows inodes of the file system below are of no use
// on another machine.
func xattrs(file string) (map[string]string, error) {
	size, err := unix.Llistxattr(file, nil)
	if err != nil || size == 0 {
		if errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
		return nil, err
	}
	names := make([]byte, size)
	if size, err = unix.Llistxattr(file, names); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:size]), "\x00"), "\x00") {
		switch name {
		case "", "trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.uuid", "trusted.overlay.nlink":
			continue
		}
		n, err := unix.Lgetxattr(file, name, nil)
		if err != nil {
			return nil, err
		}
		value := make([]byte, n)
		if n, err = unix.Lgetxattr(file, name, value); err != nil {
			return nil, err
		}
		all[xattrRecord+name] = string(value[:n])
	}
	return all, nil
}

// Read makes an upper layer of an archive that Write has written, in a folder that is there and empty. It gives the number
// of entries.
//
// It blocks as r does, and ends between two entries when ctx does. It refuses names that lead out of the folder, what is
// there already, and kinds of entries that Write does not make; but it follows links that came before, so who wrote the
// archive is trusted. After an error the folder has a part of it: the caller removes it. Only root makes devices and gives
// files away.
func Read(ctx context.Context, upper string, r io.Reader) (entries int, err error) {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && !filepath.IsLocal(h.Name) {
			err = fmt.Errorf("%q is no path within the root", h.Name)
		}
		if err == nil {
			err = readEntry(in, h, filepath.Join(upper, h.Name))
		}
		if err != nil {
			return entries, err
		}
		entries++
	}
}

func readEntry(in io.Reader, h *tar.Header, file string) error {
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		err = os.Mkdir(file, 0o700)
	case tar.TypeSymlink:
		err = os.Symlink(h.Linkname, file)
	case tar.TypeReg:
		var f *os.File
		if f, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			_, err = io.Copy(f, in)
			err = errors.Join(err, f.Close())
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
		err = unix.Mknod(file, kind|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	default:
		err = fmt.Errorf("entry of kind %q", h.Typeflag)
	}
	if err == nil {
		err = os.Lchown(file, h.Uid, h.Gid)
	}
	if err == nil && h.Typeflag != tar.TypeSymlink {
		err = unix.Chmod(file, uint32(h.Mode)&0o7777) // after the owner: that takes setuid away
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, xattrRecord); ok && err == nil {
			err = unix.Lsetxattr(file, name, []byte(value), 0)
		}
	}
	if err == nil && h.Typeflag != tar.TypeDir { // what is in a folder changes its time
		at := unix.NsecToTimespec(h.ModTime.UnixNano())
		err = unix.UtimesNanoAt(unix.AT_FDCWD, file, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}
