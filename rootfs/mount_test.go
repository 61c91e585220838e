package rootfs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/rootfs"
	"masthead/rootfs/directory"
	"masthead/rootfs/roottest"
	"masthead/vmtest/prerequisite"
)

// epoch is before the times of some fixtures and after others.
var epoch = time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)

// zoo fills dir with one of everything that a root may hold.
func zoo(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		must(os.MkdirAll(filepath.Dir(at(name)), 0o755))
		must(os.WriteFile(at(name), data, 0o644))
		must(unix.Chmod(at(name), uint32(mode)))
	}
	text := func(n int) []byte {
		var b bytes.Buffer
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, "%08d a line of text\n", i)
		}
		return b.Bytes()[:n]
	}
	write("empty", nil, 0o600)
	write("bin/su", text(70_000), 0o4755)
	write("bin/wall", text(3000), 0o2755)
	for _, n := range []int{1, 31, 4000, 4063, 4064, 4065, 4095, 4096, 4097, 8192, 262143, 262144, 262145, 3 << 20} {
		write(fmt.Sprintf("sizes/%d", n), text(n), 0o644)
	}
	must(os.Mkdir(at("tmp"), 0))
	must(unix.Chmod(at("tmp"), 0o1777))
	must(os.Mkdir(at("empty.d"), 0o700))
	must(os.Chown(at("empty.d"), 1000, 1000))
	write("owned", text(10), 0o640)
	must(os.Chown(at("owned"), 65534, 70000))
	must(os.Chown(at("bin/wall"), 4_000_000_000, 3_999_999_999))
	must(unix.Chmod(at("bin/wall"), 0o2755)) // chown took the bit

	// Names: not UTF-8, of 255 bytes, with everything but NUL and slash, and those that sort around "." and "..".
	for _, name := range []string{"caf\xe9", "\xff\xfe\x80", strings.Repeat("n", 255), "new\nline", " ", "!bang", "-dash", "...", ".hidden", "\x01", "日本語", "*?[", ".wh"} {
		write(filepath.Join("names", name), []byte(name), 0o644)
	}
	must(os.MkdirAll(at("names/d\xe9p/\xf0\x28"), 0o755))
	write("names/d\xe9p/\xf0\x28/leaf", []byte("leaf"), 0o644)

	must(os.Symlink("su", at("bin/relative")))
	must(os.Symlink("/etc/absolute", at("bin/absolute")))
	must(os.Symlink("../../../no/such", at("bin/dangling")))
	must(os.Symlink("t\xff", at("bin/bytes")))
	must(os.Symlink("loop", at("bin/loop")))
	must(os.Symlink(strings.Repeat("x/", 2047)+"y", at("bin/long")))
	must(os.Symlink(strings.Repeat("z", 4000), at("bin/longer")))

	must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(at("bigdev"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 700_000))))
	must(unix.Mknod(at("removed"), unix.S_IFCHR, int(unix.Mkdev(0, 0))))
	must(unix.Mkfifo(at("fifo"), 0o622))
	must(unix.Mknod(at("socket"), unix.S_IFSOCK|0o777, 0))

	// Hard links: over directories, of a file large and small, of a symbolic link and of a device; before and after
	// their first name in the order of the image.
	must(os.Mkdir(at("aaa"), 0o755))
	must(os.Mkdir(at("zzz"), 0o755))
	for _, l := range [][2]string{
		{"bin/su", "zzz/su"}, {"bin/su", "aaa/su"}, {"sizes/3145728", "aaa/large"}, {"sizes/31", "zzz/small"},
		{"sizes/31", "sizes/31.also"}, {"bin/absolute", "aaa/absolute"}, {"null", "aaa/null"}, {"empty", "zzz/empty"},
	} {
		must(unix.Linkat(unix.AT_FDCWD, at(l[0]), unix.AT_FDCWD, at(l[1]), 0))
	}

	// Extended attributes; capability bytes as setcap writes them (linux/capability.h, VFS_CAP_REVISION_2).
	write("bin/ping", text(5000), 0o755)
	must(unix.Setxattr(at("bin/ping"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(unix.Setxattr(at("owned"), "user.binary", []byte("a\x00b\xff"), 0))
	must(unix.Setxattr(at("owned"), "user.empty", nil, 0))
	must(unix.Setxattr(at("owned"), "user."+strings.Repeat("n", 200), bytes.Repeat([]byte("v"), 2000), 0))
	must(unix.Setxattr(at("empty.d"), "trusted.overlay.opaque", []byte("y"), 0))
	must(unix.Setxattr(dir, "user.root", []byte("of the root"), 0))
	for i := range 10 { // across block boundaries
		name := fmt.Sprintf("xattrs/%d", i)
		write(name, text(i*100), 0o644)
		must(unix.Setxattr(at(name), "user.filler", bytes.Repeat([]byte{byte(i)}, 700), 0))
	}
	// user::rw- user:1000:r-- group::r-- mask::r-- other::r-- (linux/posix_acl_xattr.h)
	acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff")
	must(unix.Setxattr(at("owned"), "system.posix_acl_access", acl, 0))
	must(unix.Setxattr(at("empty.d"), "system.posix_acl_default", acl, 0))

	// Sparse: a hole in front, between, behind, and nothing but a hole.
	sparse := func(name string, size int64, at_ ...int64) {
		t.Helper()
		f, err := os.Create(at(name))
		must(err)
		defer f.Close()
		for _, off := range at_ {
			_, err := f.WriteAt([]byte("data at "+fmt.Sprint(off)), off)
			must(err)
		}
		must(f.Truncate(size))
	}
	sparse("sparse", 20<<20, 5<<20, 12<<20)
	sparse("hole", 8<<20)

	must(os.Mkdir(at("many"), 0o755))
	for i := range 10_000 {
		must(os.WriteFile(filepath.Join(dir, "many", fmt.Sprintf("entry-%05d", i*7919%10_000)), nil, 0o644))
	}
	for i := range 60 {
		must(os.Mkdir(filepath.Join(dir, "many", fmt.Sprintf("dir%d", i)), 0o755))
	}

	times := map[string]time.Time{
		"empty":     time.Unix(-86400, 5),                          // before 1970
		"owned":     time.Unix(1_000_000_000, 123_456_789),         // with nanoseconds
		"bin/su":    epoch,                                         // as the image's own: the small inode
		"null":      time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC),   // after epoch
		"sizes/31":  time.Date(2039, 1, 1, 0, 0, 0, 0, time.UTC),   // after 2^31
		"names":     time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC),   // a directory
		"bin/ping":  time.Date(2024, 5, 31, 23, 0, 0, 0, time.UTC), // just before
		"bin/bytes": time.Unix(42, 0),
	}
	for name, m := range times {
		ts := []unix.Timespec{unix.NsecToTimespec(m.UnixNano()), unix.NsecToTimespec(m.UnixNano())}
		must(unix.UtimesNanoAt(unix.AT_FDCWD, at(name), ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// mountImage mounts the image in the file for the length of the test.
func mountImage(t *testing.T, file string) string {
	t.Helper()
	point := t.TempDir()
	if out, err := exec.Command("mount", "-t", "erofs", "-o", "loop,ro", file, point).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", point).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return point
}

func requireMount(t testing.TB) {
	t.Helper()
	prerequisite.Root(t)
	prerequisite.Have(t, exec.Command("modprobe", "-q", "erofs").Run() == nil || hasErofs(), "EROFS in the kernel")
}

func hasErofs() bool {
	data, _ := os.ReadFile("/proc/filesystems")
	return strings.Contains(string(data), "\terofs\n")
}

func openStore(t testing.TB) *images.Store {
	t.Helper()
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// unseal writes the image of root to a file.
func unseal(t testing.TB, root images.Root, store *images.Store) string {
	t.Helper()
	r, err := rootfs.Open(root, store)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	file := filepath.Join(t.TempDir(), "image.erofs")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, io.NewSectionReader(r, 0, r.Size())); err != nil {
		t.Fatal(err)
	}
	return file
}

// clamp does to the times of a source what the build does.
func clamp(all map[string]roottest.Entry, epoch time.Time) map[string]roottest.Entry {
	limit := epoch.UTC().Format("2006-01-02T15:04:05.999999999")
	for p, e := range all {
		e.MTime = min(e.MTime, limit)
		all[p] = e
	}
	return all
}

// TestKernelSeesTheTree builds a root with one of everything and compares the kernel's view of it with the source, entry
// by entry.
func TestKernelSeesTheTree(t *testing.T) {
	requireMount(t)
	src := t.TempDir()
	zoo(t, src)
	tree, err := directory.Read(context.Background(), src, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	store := openStore(t)
	root, err := rootfs.Build(context.Background(), tree, epoch, store, rootfs.SealOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := unseal(t, root, store)

	want := clamp(roottest.Directory(t, src), epoch)
	for p, e := range want {
		if e.Mode[:3] == "004" {
			e.Size = 0
			want[p] = e
		}
	}
	got := roottest.Directory(t, mountImage(t, file))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("source (-) and mounted image (+) differ:\n%s", diff)
	}
	if len(got) < 10_100 {
		t.Errorf("%d entries, want more than 10,100", len(got))
	}

	t.Run("fsck", func(t *testing.T) {
		prerequisite.Programs(t, "fsck.erofs")
		out, err := exec.Command("fsck.erofs", "-d3", "--extract", file).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("No errors found")) {
			t.Errorf("fsck.erofs: %v\n%s", err, out)
		}
	})
}
