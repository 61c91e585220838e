package apt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	// pault.ag/go/debian verifies with this package, so its type is the one to hand over.
	"golang.org/x/crypto/openpgp"
)

// DebianKeyring is where the package debian-archive-keyring puts the keys of Debian's archive.
const DebianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// keyring gives the keys that may sign s on the machine at root: those that the source names, else the keyrings that
// the machine trusts for everything, and Debian's.
func keyring(root string, s Source) (openpgp.EntityList, error) {
	if s.SignedKey != "" {
		return readKeys([]byte(s.SignedKey))
	}
	files := s.SignedBy
	if len(files) == 0 {
		files = []string{DebianKeyring, "/etc/apt/trusted.gpg"}
		for _, pattern := range []string{"*.gpg", "*.asc"} {
			found, err := filepath.Glob(filepath.Join(root, "etc/apt/trusted.gpg.d", pattern))
			if err != nil {
				return nil, err
			}
			for _, f := range found {
				rel, err := filepath.Rel(root, f)
				if err != nil {
					return nil, err
				}
				files = append(files, rel)
			}
		}
	}
	var all openpgp.EntityList
	var errs []error
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(root, f))
		if err == nil {
			var keys openpgp.EntityList
			keys, err = readKeys(data)
			all = append(all, keys...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("keyring %s: %w", f, err))
		}
	}
	if len(all) == 0 {
		return nil, errors.Join(append(errs, fmt.Errorf("no key to verify %s with", s.URI))...)
	}
	return all, nil
}

func readKeys(data []byte) (openpgp.EntityList, error) {
	if bytes.Contains(data, []byte("-----BEGIN PGP")) {
		return openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
	}
	return openpgp.ReadKeyRing(bytes.NewReader(data))
}
