package initramfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"masthead/images"
	"masthead/rootfs/module"

	"github.com/google/renameio/v2"
)

// frameFormat changes when Compress gives other bytes for the same modules.
const frameFormat = "initramfs-frame-1"

// cached is compressed, kept in the cache under the digest of the packed modules that go in. The digest of the frame
// itself is in its file, so that a damaged one is made anew.
func (c Config) cached(entries []Entry) ([]byte, error) {
	if c.Cache == "" {
		return compressed(entries)
	}
	key, err := c.key(entries)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	file := filepath.Join(c.Cache, key+".cpio.zst")
	if data, err := os.ReadFile(file); err == nil && len(data) > sha256.Size {
		sum := sha256.Sum256(data[sha256.Size:])
		if string(sum[:]) == string(data[:sha256.Size]) {
			return data[sha256.Size:], nil
		}
	}
	data, err := compressed(entries)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	sum := sha256.Sum256(data)
	if err := renameio.WriteFile(file, append(sum[:], data...), 0o644); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	return data, nil
}

func (c Config) key(entries []Entry) (string, error) {
	packed := map[string]string{} // by the path in the archive
	dir := c.moduleDir() + "/"
	for _, i := range c.Selection.Load {
		p := c.Index.Modules[i].Path
		packed[dir+module.PlainPath(p)] = p
	}
	h := sha256.New()
	fmt.Fprintln(h, frameFormat)
	for _, e := range entries {
		data, err := fs.ReadFile(c.Modules, packed[e.Path])
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, strings.TrimPrefix(e.Path, dir), e.Path, images.DigestOf(data))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
