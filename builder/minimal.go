package builder

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/rootfs"
)

// minimalTree is a root without a distribution: the folders that programs expect, root's account, and one link for
// each tool, all to the binary that init leaves in /run. The binary itself is not in it: it is in memory already.
func minimalTree(tools []string, epoch time.Time) (*rootfs.Tree, error) {
	t := rootfs.New()
	add := func(path string, n rootfs.Node) error {
		n.ModTime = epoch
		if err := t.Add(path, n); err != nil {
			return fmt.Errorf("minimal root: %w", err)
		}
		return nil
	}
	dirs := map[string]uint32{
		"bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "lib": 0o755, "lib/modules": 0o755, "mnt": 0o755, "proc": 0o555,
		"root": 0o700, "run": 0o755, "sbin": 0o755, "sys": 0o555, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755,
		"usr/local": 0o755, "usr/local/bin": 0o755, "var": 0o755, "var/lib": 0o755, "var/log": 0o755, "var/tmp": 0o1777,
	}
	for path, mode := range dirs {
		if err := add(path, rootfs.Node{Mode: unix.S_IFDIR | mode}); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/group":         "root:x:0:\nnogroup:x:65534:\n",
		"etc/os-release":    "ID=masthead\nNAME=masthead\nPRETTY_NAME=\"masthead minimal\"\n",
		"etc/nsswitch.conf": "hosts: files dns\n",
	}
	for path, text := range files {
		if err := add(path, textNode(text, 0o644)); err != nil {
			return nil, err
		}
	}
	links := map[string]string{"sbin/init": images.RunInit, "var/run": "/run", "bin/masthead": images.RunBinary}
	for _, tool := range tools {
		links["bin/"+tool] = images.RunBinary
	}
	for path, target := range links {
		n := rootfs.Node{Mode: unix.S_IFLNK | 0o777, Target: target, Size: int64(len(target))}
		if err := add(path, n); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// textNode is a regular file of root's with a text in it.
func textNode(text string, mode uint32) rootfs.Node { return dataNode([]byte(text), mode) }

func dataNode(data []byte, mode uint32) rootfs.Node {
	return rootfs.Node{
		Mode: unix.S_IFREG | mode, Size: int64(len(data)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}
