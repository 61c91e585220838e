package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

// keepOwn is what is laid over a root that keeps what is written to it: what the administrator has changed there since
// stays. dir is the root, all what a root that starts anew would get.
func keepOwn(dir string, all []file) ([]file, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("prepare the root: %w", err)
	}
	defer root.Close()
	read := func(path string) (string, bool, error) {
		data, err := root.ReadFile(strings.TrimPrefix(path, "/"))
		if errors.Is(err, fs.ErrNotExist) {
			return "", false, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("prepare the root: %w", err)
		}
		return string(data), true, nil
	}
	var kept []file
	for _, f := range all {
		switch f.Path {
		case "/etc/ssh/ssh_host_ed25519_key":
			if _, there, err := read(f.Path); err != nil || there {
				if err != nil {
					return nil, err
				}
				continue // people have noted who this machine is
			}
		case "/etc/hosts":
			text, _, err := read(f.Path)
			if err != nil {
				return nil, err
			}
			if strings.Contains(text, "127.0.1.1\t") { // ours, of an earlier boot; the head keeps its lines
				continue
			}
		case "/root/.ssh/authorized_keys":
			text, _, err := read(f.Path)
			if err != nil {
				return nil, err
			}
			f.Content = withLines(text, f.Content)
		}
		kept = append(kept, f)
	}
	return kept, nil
}

// withLines is a text with the lines of more that it does not have.
func withLines(text, more string) string {
	have := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if text == "" {
		have = nil
	}
	for line := range strings.Lines(more) {
		if line = strings.TrimSuffix(line, "\n"); !slices.Contains(have, line) {
			have = append(have, line)
		}
	}
	return strings.Join(have, "\n") + "\n"
}

// setPassword gives root in the root at dir the password that hashes to hash, unless root has one, or there is no hash to
// give.
func setPassword(dir, hash string) error {
	if hash == "" {
		return nil
	}
	if strings.ContainsAny(hash, ":\n") || !strings.HasPrefix(hash, "$") {
		return errors.New("it is no hash as crypt(5) makes it")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	const shadow = "etc/shadow"
	old, err := root.ReadFile(shadow)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a root without accounts
	}
	if err != nil {
		return err
	}
	text, changed := withPassword(string(old), hash)
	if !changed {
		return nil
	}
	st, err := root.Stat(shadow)
	if err != nil {
		return err
	}
	// In one step: the machine may lose power here, and a shadow file that is empty lets nobody in.
	const next = shadow + ".masthead"
	if err := root.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	if sys, ok := ownerOf(st); ok {
		if err := root.Chown(next, sys.uid, sys.gid); err != nil {
			return err
		}
	}
	if err := root.Chmod(next, st.Mode().Perm()); err != nil {
		return err
	}
	return root.Rename(next, shadow)
}

// withPassword puts a hash into a shadow file (shadow(5)) where root can log in with no password or with none at all.
func withPassword(shadow, hash string) (string, bool) {
	lines := strings.SplitAfter(shadow, "\n")
	for i, line := range lines {
		rest, ok := strings.CutPrefix(line, "root:")
		if !ok {
			continue
		}
		have, after, ok := strings.Cut(rest, ":")
		if !ok || strings.HasPrefix(have, "$") {
			return shadow, false
		}
		lines[i] = "root:" + hash + ":" + after
		return strings.Join(lines, ""), true
	}
	return shadow, false
}

type owner struct{ uid, gid int }

// ownerOf is who owns a file.
func ownerOf(st os.FileInfo) (owner, bool) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return owner{}, false
	}
	return owner{int(sys.Uid), int(sys.Gid)}, true
}
