package overlay

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What makes a folder an overlay's upper layer arrives: whiteouts, opaque folders, modes, owners, times.
func TestTar(t *testing.T) {
	prerequisite.Root(t)
	from, to := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(from, "etc/ssh"), 0o755))
	must(os.WriteFile(filepath.Join(from, "etc/ssh/ssh_host_key"), []byte("own"), 0o600))
	must(os.WriteFile(filepath.Join(from, "etc/file"), []byte("text"), 0o640))
	must(os.Lchown(filepath.Join(from, "etc/file"), 7, 8))
	must(unix.Chmod(filepath.Join(from, "etc/file"), 0o4755))
	then := time.Unix(1_700_000_000, 5000)
	must(os.Chtimes(filepath.Join(from, "etc/file"), then, then))
	must(os.Symlink("file", filepath.Join(from, "etc/link")))
	must(unix.Mknod(filepath.Join(from, "gone"), unix.S_IFCHR, 0))
	must(os.Mkdir(filepath.Join(from, "opaque"), 0o711))
	trusted := unix.Lsetxattr(filepath.Join(from, "opaque"), "trusted.overlay.opaque", []byte("y"), 0) == nil

	var archive bytes.Buffer
	must(Write(t.Context(), from, &archive, func(name string) bool { return name == "etc/ssh/ssh_host_key" }))
	n, err := Read(t.Context(), to, &archive)
	must(err)
	if n != 6 {
		t.Errorf("%d entries", n)
	}
	var st unix.Stat_t
	must(unix.Lstat(filepath.Join(to, "etc/file"), &st))
	if st.Uid != 7 || st.Gid != 8 || st.Mode != unix.S_IFREG|0o4755 || st.Mtim.Nano() != then.UnixNano() {
		t.Errorf("the file arrived as %+v", st)
	}
	must(unix.Lstat(filepath.Join(to, "gone"), &st))
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("the whiteout arrived as %+v", st)
	}
	must(unix.Lstat(filepath.Join(to, "opaque"), &st))
	if st.Mode != unix.S_IFDIR|0o711 {
		t.Errorf("the folder has the mode %o", st.Mode)
	}
	want := map[string]string{xattrRecord + "trusted.overlay.opaque": "y"}
	if got, err := xattrs(filepath.Join(to, "opaque")); trusted && (err != nil || !cmp.Equal(got, want)) {
		t.Errorf("its attributes: %v, %v", got, err)
	}
	if link, err := os.Readlink(filepath.Join(to, "etc/link")); err != nil || link != "file" {
		t.Errorf("%q, %v", link, err)
	}
	if _, err := os.Stat(filepath.Join(to, "etc/ssh/ssh_host_key")); !os.IsNotExist(err) {
		t.Errorf("what should stay has come along: %v", err)
	}
}
