package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"
)

// secretMode is that of every file here: its owner alone.
const secretMode = 0o600

// maxFile bounds what is read of a file that should be a few hundred bytes.
const maxFile = 1 << 16

// readSecret reads a file, and tightens its mode if that became wider. A file that is not there gives fs.ErrNotExist.
func readSecret(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	if !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, fmt.Errorf("pki: %s: not a file of at most %d bytes", path, maxFile)
	}
	if st.Mode().Perm()&^secretMode != 0 {
		if err := os.Chmod(path, secretMode); err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return data, nil
}

// writeSecret replaces a file: after a power cut it is the old one or the new one, never half.
func writeSecret(path string, data []byte) error {
	if err := renameio.WriteFile(path, data, secretMode, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("pki: write %s: %w", path, err)
	}
	return nil
}

// loadOrMake reads a secret, and makes it where there is none. A file that is there but damaged is an error and stays:
// a new secret in its place would lock out everyone who trusts the old one.
func loadOrMake(path string, makeNew func() ([]byte, error)) ([]byte, error) {
	data, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = makeNew(); err != nil {
		return nil, err
	}
	return data, writeSecret(path, data)
}
