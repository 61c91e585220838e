package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"masthead/images"
	"masthead/vmtest/prerequisite"
)

// smallHead writes a definition of a head whose root is masthead with the two programs that an installed head needs of a
// distribution: mkfs.ext4 and e2fsck, taken from this host with their libraries, and others that a test asks for. It starts
// in a third of Debian's time. mark is a file in the root by which two images differ; init is its init.
func smallHead(t *testing.T, name, mark, init string, programs ...string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{"bin", "dev", "etc", "lib64", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr/sbin", "usr/local/bin", "var/lib", "var/log"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for _, tool := range []string{"sh", "ls", "cat", "echo", "mount", "sync", "grep", "dd", "sleep", "head", "umount", "mkdir", "rm", "modprobe", "dmesg", "masthead"} {
		must(t, os.Symlink("/run/masthead/bin/masthead", filepath.Join(root, "bin", tool)))
	}
	must(t, os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("ID=small\nPRETTY_NAME=\"small "+mark+"\"\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc/shadow"), []byte("root:*:19000:0:99999:7:::\n"), 0o640))
	must(t, os.WriteFile(filepath.Join(root, "etc/mark"), []byte(mark+"\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, brokenInit), []byte("#!/none\n"), 0o755))
	// The build wants an init in the root; masthead's lies in /run, which is mounted over this.
	must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(smallInit)), 0o755))
	must(t, os.WriteFile(filepath.Join(root, smallInit), []byte("#!/none\n"), 0o755))
	for _, program := range append([]string{"mkfs.ext4", "e2fsck", filepath.Base(hangsInit)}, programs...) {
		copyHostProgram(t, root, program)
	}
	file := filepath.Join(filepath.Dir(root), name+".yaml")
	text := fmt.Sprintf("name: %s\nrole: head\nroot: {directory: %s}\ninit: %s\nkernel: {package: linux-image-cloud-amd64}\n"+
		"cmdline: console=tty0 console=ttyS0,115200\nmedium: {ip: \"auto,10.77.0.1/24\"}\n", name, root, init)
	must(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// Inits of such a root. The kernel panics when the broken one ends; the one that hangs reads the console for ever.
const (
	smallInit  = images.RunInit // masthead's own second init: the root is started as a minimal one is
	brokenInit = "/sbin/broken"
	hangsInit  = "/usr/bin/cat"
)

var libraryPath = regexp.MustCompile(`(/\S+)`)

// copyHostProgram puts a program of this host into a root, with the libraries that ldd(1) names.
func copyHostProgram(t *testing.T, root, name string) {
	t.Helper()
	path := prerequisite.Program(t, name)
	out, err := exec.CommandContext(t.Context(), "ldd", path).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v; .ci/prerequisites names its package", path, err)
	}
	files := map[string]string{path: path}
	for line := range strings.Lines(string(out)) {
		if m := libraryPath.FindString(line); m != "" {
			files[m] = m
		}
	}
	files[path] = filepath.Join("/usr", strings.TrimPrefix(path, "/usr")) // hosts differ in which of both is the link
	for from, to := range files {
		data, err := os.ReadFile(from)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, to)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, to), data, 0o755))
	}
}
