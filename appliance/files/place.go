package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"masthead/images"
	"masthead/node/wire"
)

const maxOld = 100

// aside keeps a file as PATH.old.NN, the lowest that is free. It stays where it is, until it is replaced. A content that
// is kept already is not kept twice.
func aside(path string, d images.Digest) (string, error) {
	for n := range maxOld {
		old := fmt.Sprintf("%s.old.%02d", path, n)
		err := os.Link(path, old) // never overwrites
		if err == nil {
			return old, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("keep what is there: %w", err)
		}
		if l, err := look(old); err == nil && l.digest == d {
			return old, nil
		}
	}
	return "", &PathError{path, "what is there cannot be kept: .old.00 to .old.99 are all taken", "rm " + path + ".old.*"}
}

// place writes a version of a file, which appears with its owner and mode, complete or not at all, and survives a power
// cut when place returns.
func (k *Keeper) place(ctx context.Context, path string, v wire.FileVersion) error {
	content, err := k.conf.Content(ctx, images.Blob{Digest: v.Digest, Size: v.Size})
	if err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	defer content.Close()
	to := k.at(path)
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	tmp, err := os.CreateTemp(dir, ".masthead-") // mode 0600
	if err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	err = fill(tmp, content, v)
	if err == nil {
		err = os.Rename(tmp.Name(), to)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("put %s in place: %w", path, err), os.Remove(tmp.Name()))
	}
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return nil
}

// fill writes, verifies and closes a temporary file.
func fill(tmp *os.File, content io.Reader, v wire.FileVersion) error {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(tmp, sum), io.LimitReader(content, v.Size+1))
	if got := images.DigestFromSum(sum.Sum(nil)); err == nil && (n != v.Size || got != v.Digest) {
		err = fmt.Errorf("its content is %d bytes, %s; want %d bytes, %s", n, got.Short(), v.Size, v.Digest.Short())
	}
	if err == nil {
		uid, gid := owner(v)
		err = tmp.Chown(uid, gid) // before the mode: it takes set-user-ID away
	}
	if err == nil {
		err = tmp.Chmod(fileMode(v.Mode))
	}
	if err == nil {
		err = tmp.Sync()
	}
	return errors.Join(err, tmp.Close())
}
