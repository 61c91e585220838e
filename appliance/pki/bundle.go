package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Every head of a cluster holds these files; its own key is the only one that it shares with nobody.
var bundleFiles = []string{"ca.key", "ca.crt", "token.keys", "admin.token"}

// Bundle reads the secrets that all heads of a cluster share, by the name of their file.
func Bundle(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	// First of all: if the secrets change while they are read, the other head takes them again.
	switch taken, err := readSecret(filepath.Join(dir, takenFile)); {
	case err == nil:
		files[takenFile] = taken
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	for _, name := range bundleFiles {
		data, err := readSecret(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files[name] = data
	}
	return files, nil
}

// WriteBundle puts what Bundle gave into another head's folder, which must not hold such secrets of another cluster,
// and checks that it can be used. After a power cut it is done again.
func WriteBundle(dir string, files map[string][]byte) (*Authority, error) {
	for _, name := range bundleFiles {
		data, ok := files[name]
		if !ok || len(data) > maxFile {
			return nil, fmt.Errorf("pki: the cluster's keys: no %s in them", name)
		}
		if err := writeSecret(filepath.Join(dir, name), data); err != nil {
			return nil, err
		}
	}
	if taken, ok := files[takenFile]; ok && len(taken) <= maxFile {
		if err := writeSecret(filepath.Join(dir, takenFile), taken); err != nil {
			return nil, err
		}
	}
	a, err := OpenAuthority(dir, "")
	if err == nil {
		_, err = OpenTokens(dir)
	}
	if err == nil {
		_, err = OpenAdmin(dir)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("pki: the cluster's keys: %w", err)
	}
	return a, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
