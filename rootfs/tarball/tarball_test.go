package tarball_test

import (
	"archive/tar"
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

	"masthead/rootfs"
	"masthead/rootfs/roottest"
	"masthead/rootfs/tarball"
	"masthead/vmtest/prerequisite"
)

// menagerie fills a directory with what an archive may hold.
func menagerie(t *testing.T) string {
	t.Helper()
	prerequisite.Root(t)
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	must(unix.Chmod(dir, 0o755))
	must(os.MkdirAll(at("usr/bin"), 0o755))
	must(os.WriteFile(at("usr/bin/su"), bytes.Repeat([]byte("su"), 3000), 0o644))
	must(os.Chown(at("usr/bin/su"), 0, 70_000))
	must(unix.Chmod(at("usr/bin/su"), 0o6755))
	must(os.Link(at("usr/bin/su"), at("usr/bin/sudo")))
	must(os.WriteFile(at("empty"), nil, 0o600))
	must(os.Chown(at("empty"), 3_000_000, 3_000_001)) // more than ustar's octal digits
	must(os.Symlink("/usr/bin", at("bin")))
	must(os.Symlink(strings.Repeat("long/", 300), at("long")))
	must(os.MkdirAll(at(strings.Repeat("directory/", 40)), 0o1777))
	must(os.WriteFile(at("caf\xe9\xff"), []byte("not UTF-8"), 0o644))
	must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mknod(at("whiteout"), unix.S_IFCHR, 0))
	must(unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(8, 17))))
	must(unix.Mkfifo(at("fifo"), 0o600))
	must(unix.Setxattr(at("usr/bin/su"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(unix.Setxattr(at("usr"), "user.binary", []byte("a\nb\x00=\xff"), 0))
	f, err := os.Create(at("sparse"))
	must(err)
	for _, off := range []int64{0, 1 << 20, 5<<20 + 123, 9 << 20} {
		_, err := f.WriteAt([]byte(fmt.Sprintf("data at %d", off)), off)
		must(err)
	}
	must(f.Truncate(11<<20 + 1))
	must(f.Close())
	f, err = os.Create(at("hole"))
	must(err)
	must(f.Truncate(3 << 20))
	must(f.Close())
	must(os.WriteFile(at("zz-after"), []byte("after the sparse ones"), 0o644))
	for _, name := range []string{"empty", "usr/bin/su", "usr/bin", "usr", "."} {
		must(os.Chtimes(at(name), time.Unix(1_000_000_000, 0), time.Unix(1_000_000_000, 0)))
	}
	return dir
}

// losses say what a form of archive cannot hold.
type losses struct{ nanoseconds, xattrs bool }

func (l losses) apply(all map[string]roottest.Entry) map[string]roottest.Entry {
	for p, e := range all {
		if l.nanoseconds {
			e.MTime = strings.Split(e.MTime, ".")[0]
		}
		if l.xattrs {
			e.Xattrs = nil
		}
		if strings.HasPrefix(e.Mode, "004") {
			e.Size = 0
		}
		all[p] = e
	}
	return all
}

// TestForeignArchives reads what GNU tar and bsdtar make of one directory, in each form and compression.
func TestForeignArchives(t *testing.T) {
	dir := menagerie(t)
	gnu := []string{"tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", dir, "-cf"}
	for _, tt := range []struct {
		name   string
		cmd    []string
		losses losses
	}{
		{"pax", append([]string{"--format=pax"}, "."), losses{}},
		{"pax sparse 0.0", []string{"--format=pax", "--sparse", "--sparse-version=0.0", "."}, losses{}},
		{"pax sparse 0.1", []string{"--format=pax", "--sparse", "--sparse-version=0.1", "."}, losses{}},
		{"pax sparse 1.0", []string{"--format=pax", "--sparse", "--sparse-version=1.0", "."}, losses{}},
		{"gnu", []string{"--no-xattrs", "--format=gnu", "--sparse", "."}, losses{nanoseconds: true, xattrs: true}},
		{"gzip", []string{"--format=pax", "--gzip", "."}, losses{}},
		{"xz", []string{"--format=pax", "--xz", "--sparse", "."}, losses{}},
		{"zstd", []string{"--format=pax", "--zstd", "."}, losses{}},
		{"bsdtar", nil, losses{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "archive")
			cmd := append(append(gnu[:len(gnu):len(gnu)], file), tt.cmd...)
			if tt.cmd == nil {
				cmd = []string{"bsdtar", "--format=pax", "--numeric-owner", "--xattrs", "--no-read-sparse", "-C", dir, "-cf", file, "."}
			}
			prerequisite.Programs(t, cmd[0])
			if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", cmd, err, out)
			}
			tree, err := tarball.Open(context.Background(), file, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer tree.Close()
			want := tt.losses.apply(roottest.Directory(t, dir))
			got := tt.losses.apply(roottest.Tree(t, tree))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("directory (-), archive (+):\n%s", diff)
			}
		})
	}
}

// archive makes one in Go, for what no tool would write.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := h.Uname
		h.Uname = ""
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, content)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readTar(t testing.TB, data []byte) (*rootfs.Tree, error) {
	t.Helper()
	tree := rootfs.New()
	t.Cleanup(func() { tree.Close() })
	return tree, tarball.Read(context.Background(), tree, bytes.NewReader(data), t.TempDir())
}

func TestBadArchives(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Uname: "content"} }
	good := archive(t, file("a"), file("b"))
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "torn"},
		{"torn at an entry", good[:1024], "torn: it stops at byte 1024"},
		{"torn in a header", good[:1024+100], `after "a": torn`},
		{"torn in the content", good[:1024+512+3], `"b": torn: 7 bytes of content, 3 left`},
		{"no tar at all", bytes.Repeat([]byte("rubbish "), 1000), "after its start: archive/tar: invalid tar header"},
		{"torn gzip", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01"), "decompress"},
		{"absolute", archive(t, file("/etc/passwd")), `"/etc/passwd": absolute name`},
		{"dot dot", archive(t, file("a/../../b")), `"a/../../b": name with ".."`},
		{"dot dot in a link's target", archive(t, file("a"), tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "../a"}), `hard link "l" to "../a"`},
		{"link to nothing", archive(t, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "none"}), `hard link "l" to "none": target: no such file`},
		{"link to a directory", archive(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "d"}), "is a directory"},
		{"below a file", archive(t, file("a"), file("a/b")), `"a/b": not a directory`},
		{"a loop of links", archive(t, tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "y"}, tar.Header{Name: "y", Typeflag: tar.TypeSymlink, Linkname: "x"}, file("x/z")), `"x/z": too many levels of symbolic links`},
		{"a name too long", archive(t, file(strings.Repeat("n", 256))), "name of 256 bytes, at most 255"},
		{"the root as a file", archive(t, file(".")), "the root must be a directory"},
		{"an attribute of no kind", archive(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.odd": "x"}}), `"a": extended attribute "odd"`},
		{"an unknown type", archive(t, tar.Header{Name: "a", Typeflag: 'V'}), `"a": unknown type 'V'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readTar(t, tt.data)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestOddArchives are unusual and right.
func TestOddArchives(t *testing.T) {
	reg := func(name, content string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Uname: content}
	}
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	for _, tt := range []struct {
		name string
		data []byte
		want map[string]string // of the files
	}{
		{"an entry twice", archive(t, reg("a", "first"), reg("a", "second")), map[string]string{"a": "second"}},
		{"no directories", archive(t, reg("a/b/c", "deep")), map[string]string{"a/b/c": "deep"}},
		{"through a link", archive(t, link("lib", "usr/lib"), reg("usr/lib/a", "1"), reg("lib/b", "2")), map[string]string{"usr/lib/a": "1", "usr/lib/b": "2"}},
		{"through an absolute link that leaves the root", archive(t, link("up", "/../../etc"), reg("up/x", "in")), map[string]string{"etc/x": "in"}},
		{"through a link to what is not there yet", archive(t, link("a", "b/c"), reg("a/x", "1")), map[string]string{"b/c/x": "1"}},
		{"a directory over a link", archive(t, link("lib", "usr/lib"), tar.Header{Name: "lib/", Typeflag: tar.TypeDir}, reg("lib/x", "1")), map[string]string{"lib/x": "1"}},
		{"a file over a directory", archive(t, reg("a/b", "1"), reg("a", "2")), map[string]string{"a": "2"}},
		{"a comment for all", archive(t, tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, reg("a", "1")), map[string]string{"a": "1"}},
		{"a link to a file that is replaced", archive(t, reg("a", "1"), tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "./a"}, reg("a", "2")), map[string]string{"a": "2", "b": "1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := readTar(t, tt.data)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for p, n := range tree.All() {
				if n.IsRegular() {
					r, err := n.Open()
					if err != nil {
						t.Fatal(err)
					}
					data, err := io.ReadAll(r)
					if err != nil {
						t.Fatal(err)
					}
					got[p] = string(data)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

// TestHugeSparse has a file of 4 TiB in an archive of a few blocks: it costs nothing until it is read.
func TestHugeSparse(t *testing.T) {
	prerequisite.Root(t)
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	f, err := os.Create(filepath.Join(dir, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 42); err != nil { // 4 TiB: ext4 holds no more
		t.Fatal(err)
	}
	f.Close()
	if out, err := exec.Command("tar", "-C", dir, "--sparse", "-cf", file, "huge").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	tree, err := tarball.Open(context.Background(), file, "")
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	n, err := tree.Lookup("huge")
	if err != nil || n.Size != 1<<42 {
		t.Fatalf("%+v, %v", n, err)
	}
	r, err := n.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 4096)
	if _, err := io.ReadFull(r, buf); err != nil || !bytes.Equal(buf, make([]byte, 4096)) {
		t.Errorf("read: %v", err)
	}
}
