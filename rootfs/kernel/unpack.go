package kernel

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"pault.ag/go/debian/deb"
)

// sumsFile lists the SHA-256 of every unpacked file, in the format of sha256sum, so that a damaged cache is noticed.
const sumsFile = "SHA256SUMS"

// wanted maps a name in a kernel package to where it is unpacked, or "" for what is of no use here. Debian moved the
// modules below /usr between bookworm and trixie; unpacked they are in one place.
func wanted(name string) string {
	name = path.Clean(strings.TrimPrefix(name, "./"))
	if rest, ok := strings.CutPrefix(name, "usr/lib/modules/"); ok {
		name = "lib/modules/" + rest
	}
	switch {
	case !filepath.IsLocal(name):
	case strings.HasPrefix(name, "boot/vmlinuz-"), strings.HasPrefix(name, "boot/config-"), strings.HasPrefix(name, "lib/modules/"):
		return name
	}
	return ""
}

// unpack extracts the kernel and its modules out of a package into dir, which appears complete or not at all; the folder
// around it must be there, and the caller must hold its lock. The package is removed then: what is of use of it is in dir.
func unpack(ctx context.Context, file, dir string) error {
	d, closer, err := deb.LoadFile(file)
	if err != nil {
		return err
	}
	defer closer()
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // does nothing after the rename
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := extract(ctx, d.Data, tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // a damaged one
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return os.Remove(file)
}

func extract(ctx context.Context, tr *tar.Reader, dir string) error {
	var sums bytes.Buffer
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name := wanted(h.Name)
		if name == "" || h.Typeflag != tar.TypeReg { // build and source are links to headers that are not there
			continue
		}
		sum, err := extractFile(tr, filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum), name)
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), sums.Bytes(), 0o644)
}

func extractFile(r io.Reader, name string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), r)
	return sum.Sum(nil), errors.Join(err, f.Close())
}

// verifyTree checks an unpacked package against its sums.
func verifyTree(dir string) error {
	f, err := os.Open(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}
	defer f.Close()
	n := 0
	buf := make([]byte, 256<<10)
	for sc := bufio.NewScanner(f); sc.Scan(); n++ {
		want, name, ok := strings.Cut(sc.Text(), "  ")
		if !ok || !filepath.IsLocal(name) {
			return fmt.Errorf("%s: line %d makes no sense", f.Name(), n+1)
		}
		got, err := sumFile(filepath.Join(dir, name), buf)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s is damaged", name)
		}
	}
	if n == 0 {
		return fmt.Errorf("%s is empty", f.Name())
	}
	return nil
}

func sumFile(name string, buf []byte) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, struct{ io.Reader }{f}, buf); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// fromTree makes a Kernel of an unpacked package.
func fromTree(dir, source string) (*Kernel, error) {
	k, err := FromRoot(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	k.ModulesDir = filepath.Join(dir, "lib", "modules", k.Release)
	k.Source = source
	return k, nil
}
