package rootfs_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"masthead/rootfs"
)

// plant makes a tree from short words: "dir/" a directory, "name=content" a file, "name>target" a symbolic link,
// "name~target" a hard link.
func plant(t testing.TB, words ...string) *rootfs.Tree {
	t.Helper()
	tree := rootfs.New()
	for _, w := range words {
		if err := sow(tree, w); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func sow(tree *rootfs.Tree, w string) error {
	if name, content, ok := strings.Cut(w, "="); ok {
		return tree.Add(name, rootfs.File(0o644, time.Unix(1, 0), []byte(content)))
	}
	if name, target, ok := strings.Cut(w, ">"); ok {
		return tree.Add(name, rootfs.Node{Mode: unix.S_IFLNK | 0o777, Target: target})
	}
	if name, target, ok := strings.Cut(w, "~"); ok {
		return tree.Link(target, name)
	}
	return tree.Add(w, rootfs.Node{Mode: unix.S_IFDIR | 0o700})
}

// harvest is the reverse of plant; a hard link is a file like any other.
func harvest(t testing.TB, tree *rootfs.Tree) []string {
	t.Helper()
	var all []string
	for p, n := range tree.All() {
		switch {
		case n.IsSymlink():
			p += ">" + n.Target
		case n.IsRegular():
			data, err := fs.ReadFile(tree.FS(), p)
			if err != nil {
				t.Fatal(err)
			}
			p += "=" + string(data)
		case n.IsDir():
			p += "/"
		}
		all = append(all, p)
	}
	return all[1:] // without the root
}

func TestTree(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*rootfs.Tree) error
		from []string
		want []string
	}{
		{"remove", func(t *rootfs.Tree) error { return t.Remove("a/b") }, []string{"a/b/c=1", "a/d=2"}, []string{"a/", "a/d=2"}},
		{"remove through a link", func(t *rootfs.Tree) error { return t.Remove("l/b") }, []string{"a/b=1", "l>a"}, []string{"a/", "l>a"}},
		{"remove the link itself", func(t *rootfs.Tree) error { return t.Remove("l") }, []string{"a/b=1", "l>a"}, []string{"a/", "a/b=1"}},
		{"remove nothing", func(t *rootfs.Tree) error { return t.Remove("x/y") }, []string{"a=1"}, []string{"a=1"}},
		{"clear", func(t *rootfs.Tree) error { return t.Clear("a") }, []string{"a/b/c=1", "d=2"}, []string{"a/", "d=2"}},
		{"one name of a hard link goes", func(t *rootfs.Tree) error { return t.Remove("a") }, []string{"a=1", "b~a"}, []string{"b=1"}},
		{"one name of a hard link is replaced", func(t *rootfs.Tree) error { return sow(t, "a=2") }, []string{"a=1", "b~a"}, []string{"a=2", "b=1"}},
		{"a directory keeps its entries", func(t *rootfs.Tree) error { return sow(t, "a/") }, []string{"a/b=1"}, []string{"a/", "a/b=1"}},
		{"whiteout", func(t *rootfs.Tree) error { _, err := t.Whiteout("a/.wh.b"); return err }, []string{"a/b/c=1"}, []string{"a/"}},
		{"opaque", func(t *rootfs.Tree) error { _, err := t.Whiteout("a/.wh..wh..opq"); return err }, []string{"a/b/c=1"}, []string{"a/"}},
		{"opaque through a link", func(t *rootfs.Tree) error { _, err := t.Whiteout("l/.wh..wh..opq"); return err }, []string{"a/b=1", "l>a"}, []string{"a/", "l>a"}},
		{"merge", func(tree *rootfs.Tree) error {
			return tree.Merge(plant(t, "usr/x=2", "lib/modules/m=ko", "f/now=a dir", "d=now a file", "new~usr/x"))
		}, []string{"usr/lib/a=1", "usr/x=1", "lib>usr/lib", "f=was a file", "d/was=a dir"},
			[]string{"d=now a file", "f/", "f/now=a dir", "lib>usr/lib", "new=2", "usr/", "usr/lib/", "usr/lib/a=1", "usr/lib/modules/", "usr/lib/modules/m=ko", "usr/x=2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := plant(t, tt.from...)
			if err := tt.do(tree); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, harvest(t, tree)); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

func TestTreeErrors(t *testing.T) {
	dev := rootfs.Node{Mode: unix.S_IFCHR, Rdev: unix.Mkdev(5000, 1)}
	for _, tt := range []struct {
		name string
		do   func(*rootfs.Tree) error
		want string
	}{
		{"empty link", func(t *rootfs.Tree) error { return sow(t, "a>") }, "want 1 to 4095 bytes"},
		{"long link", func(t *rootfs.Tree) error { return sow(t, "a>"+strings.Repeat("x", 4096)) }, "want 1 to 4095 bytes"},
		{"no content", func(t *rootfs.Tree) error { return t.Add("a", rootfs.Node{Mode: unix.S_IFREG, Size: 1}) }, "1 bytes without content"},
		{"no type", func(t *rootfs.Tree) error { return t.Add("a", rootfs.Node{Mode: 0o644}) }, "unknown file type"},
		{"device", func(t *rootfs.Tree) error { return t.Add("a", dev) }, "device 5000,1"},
		{"NUL", func(t *rootfs.Tree) error { return sow(t, "a\x00b=") }, "NUL"},
		{"long path", func(t *rootfs.Tree) error { return sow(t, strings.Repeat("d/", 2048)+"x=") }, "path of 4097 bytes"},
		{"deep path", func(t *rootfs.Tree) error {
			deep := strings.Repeat("d/", 1500)
			return errors.Join(sow(t, deep+"l=x"), sow(t, "s>"+deep), sow(t, "s/"+deep+"x=1"))
		}, "file name too long"},
		{"attributes", func(t *rootfs.Tree) error {
			n := rootfs.File(0o644, epoch, nil)
			n.Xattrs = map[string]string{"user.a": strings.Repeat("x", 65536)}
			return t.Add("a", n)
		}, "at most 255 for the name and 65535"},
		{"remove the root", func(t *rootfs.Tree) error { return t.Remove(".") }, "cannot be removed"},
		{"whiteout of nothing", func(t *rootfs.Tree) error { _, err := t.Whiteout("a/.wh."); return err }, "names nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do(rootfs.New())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestFS(t *testing.T) {
	tree := plant(t, "usr/bin/env=#!", "bin>usr/bin", "usr/lib/", "abs>/usr/bin/env")
	if err := fstest.TestFS(tree.FS(), "usr/bin/env", "usr/lib"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(sow(tree, "dangling>nowhere"), sow(tree, "caf\xe9=latin")); err != nil {
		t.Fatal(err)
	}
	if data, err := fs.ReadFile(tree.FS(), "caf\xe9"); err != nil || string(data) != "latin" {
		t.Errorf("a name that is not UTF-8: %q, %v", data, err)
	}
	for _, name := range []string{"bin/env", "abs"} {
		if data, err := fs.ReadFile(tree.FS(), name); err != nil || string(data) != "#!" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if _, err := fs.ReadFile(tree.FS(), "dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dangling: %v", err)
	}
}
