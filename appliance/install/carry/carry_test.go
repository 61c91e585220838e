package carry

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func pkg(name, version, status string) string {
	return "Package: " + name + "\nStatus: " + status + "\nArchitecture: amd64\nVersion: " + version + "\nDescription: x\n y\n"
}

const (
	here = "install ok installed"
	gone = "deinstall ok config-files"
)

func status(entries ...string) string { return strings.Join(entries, "\n") }

func TestParseStatus(t *testing.T) {
	got := ParseStatus(pkg("bash", "5.2-1", here) + "\nPackage: libc6\nStatus: install ok installed\nMulti-Arch: same\nArchitecture: amd64\nVersion: 2.36-9\n\n")
	for i := range got {
		got[i].Text = ""
	}
	want := []Package{{Name: "bash", Version: "5.2-1", Status: here}, {Name: "libc6:amd64", Version: "2.36-9", Status: here}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("packages (-want +got):\n%s", d)
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		name           string
		was, now, next string
		want           Choice
	}{
		{"nothing changed here", pkg("p", "1", here), pkg("p", "1", here), pkg("p", "2", here), Choice{Name: "p", Take: Image, Text: "2"}},
		{"new in the image", "", "", pkg("p", "2", here), Choice{Name: "p", Take: Image, Text: "2"}},
		{"gone from the image", pkg("p", "1", here), pkg("p", "1", here), "", Choice{Name: "p", Take: Image, Note: "p 1 is not in the new image any more"}},
		{"installed here", "", pkg("p", "1", here), "", Choice{Name: "p", Take: Machine, Text: "1", Note: "p 1 was installed here, and stays"}},
		{"installed here, older than the image's", "", pkg("p", "1", here), pkg("p", "2", here), Choice{Name: "p", Take: Image, Text: "2", Note: "p 1 was installed here; the new image has 2"}},
		{"installed here, the same as the image's", "", pkg("p", "2", here), pkg("p", "2", here), Choice{Name: "p", Take: Image, Text: "2"}},
		{"upgraded here beyond the image", pkg("p", "1", here), pkg("p", "10", here), pkg("p", "9", here),
			Choice{Name: "p", Take: Machine, Text: "10", Note: "p 10 was installed here, and is newer than 9 of the new image: it stays"}},
		{"upgraded here, the image has caught up", pkg("p", "1", here), pkg("p", "2", here), pkg("p", "3", here), Choice{Name: "p", Take: Image, Text: "3", Note: "p 2 was installed here; the new image has 3"}},
		{"removed here", pkg("p", "1", here), pkg("p", "1", gone), pkg("p", "2", here), Choice{Name: "p", Take: Image, Text: "2", Note: "p was removed here, and the new image has it: it is back"}},
		{"purged here", pkg("p", "1", here), "", pkg("p", "2", here), Choice{Name: "p", Take: Image, Text: "2", Note: "p was removed here, and the new image has it: it is back"}},
		{"removed here, its configuration is left", pkg("p", "1", here), pkg("p", "1", gone), "", Choice{Name: "p", Take: Machine, Text: "1"}},
		{"an epoch counts", "", pkg("p", "1:0.9", here), pkg("p", "2", here), Choice{Name: "p", Take: Machine, Text: "1:0.9", Note: "p 1:0.9 was installed here, and is newer than 2 of the new image: it stays"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Choose(ParseStatus(tt.was), ParseStatus(tt.now), ParseStatus(tt.next))
			if len(got) != 1 {
				t.Fatalf("%d choices: %+v", len(got), got)
			}
			c := got[0]
			if c.Text != "" {
				c.Text = ParseStatus(c.Text)[0].Version // what is compared of it
			}
			if d := cmp.Diff(tt.want, c); d != "" {
				t.Errorf("choice (-want +got):\n%s", d)
			}
		})
	}
}

// Whatever the three images have: each package is chosen once, what nobody touched is the image's, and the file reads back.
func TestChooseProperties(t *testing.T) {
	side := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.SampledFrom([]string{"1", "2", "3"}), 0, 4)
	render := func(m map[string]string) []Package {
		var all []Package
		for _, name := range []string{"a", "b", "c", "d"} {
			if v, ok := m[name]; ok {
				all = append(all, ParseStatus(pkg(name, v, here))...)
			}
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		was, now, next := side.Draw(t, "was"), side.Draw(t, "now"), side.Draw(t, "next")
		choices := Choose(render(was), render(now), render(next))
		seen := map[string]bool{}
		for _, c := range choices {
			if seen[c.Name] {
				t.Fatalf("%s is chosen twice", c.Name)
			}
			seen[c.Name] = true
			if was[c.Name] == now[c.Name] && c.Take != Image {
				t.Fatalf("%s was not touched, and is the %s's", c.Name, c.Take)
			}
		}
		for _, p := range ParseStatus(StatusOf(choices)) {
			v := p.Version
			if v != now[p.Name] && v != next[p.Name] {
				t.Fatalf("%s %s comes from nowhere", p.Name, v)
			}
			if next[p.Name] > v {
				t.Fatalf("%s %s is older than the image's %s", p.Name, v, next[p.Name])
			}
		}
		for name := range next {
			if !seen[name] {
				t.Fatalf("%s of the image is lost", name)
			}
		}
	})
}

func TestDecide(t *testing.T) {
	owners := map[string]Side{"usr/bin/mine": Machine, "usr/bin/theirs": Image, "etc/theirs.conf": Image, "usr/share/mine/x": Machine}
	packages := map[string]Side{"mine": Machine, "theirs": Image, "lib:amd64": Machine}
	for _, tt := range []struct {
		name  string
		entry Entry
		want  Decision
	}{
		{"the list of packages", Entry{Path: "var/lib/dpkg/status", Kind: File, InNext: true, Differs: true}, Decision{Do: Merge}},
		{"its last copy", Entry{Path: "var/lib/dpkg/status-old", Kind: File}, Decision{Do: Drop}},
		{"list of a package that stays", Entry{Path: "var/lib/dpkg/info/mine.list", Kind: File}, Decision{Do: Carry}},
		{"with its architecture", Entry{Path: "var/lib/dpkg/info/lib:amd64.md5sums", Kind: File}, Decision{Do: Carry}},
		{"list of one of the image", Entry{Path: "var/lib/dpkg/info/theirs.list", Kind: File}, Decision{Do: Drop}},
		{"accounts", Entry{Path: "etc/passwd", Kind: File, InNext: true}, Decision{Do: Merge}},
		{"accounts that were removed", Entry{Path: "etc/gshadow", Kind: Whiteout, InNext: true}, Decision{Do: Carry}},
		{"lists of apt", Entry{Path: "var/lib/apt/lists/deb.x_Packages", Kind: File}, Decision{Do: Drop}},
		{"answers to debconf", Entry{Path: "var/cache/debconf/config.dat", Kind: File, InNext: true}, Decision{Do: Carry}},
		{"another cache", Entry{Path: "var/cache/apt/pkgcache.bin", Kind: File}, Decision{Do: Drop}},
		{"a path that only begins so", Entry{Path: "var/cacheable", Kind: File}, Decision{Do: Carry}},
		{"program of a package that stays", Entry{Path: "usr/bin/mine", Kind: File}, Decision{Do: Carry}},
		{"program of one of the image", Entry{Path: "usr/bin/theirs", Kind: File, InNext: true, Differs: true}, Decision{Do: Drop}},
		{"configuration, changed here", Entry{Path: "etc/theirs.conf", Kind: File, InNext: true}, Decision{Do: Carry}},
		{"configuration, changed here and there", Entry{Path: "etc/theirs.conf", Kind: File, InNext: true, Differs: true},
			Decision{Do: Carry, Conflict: "/etc/theirs.conf was changed here and in the new image: this machine's stays"}},
		{"configuration, removed here", Entry{Path: "etc/theirs.conf", Kind: Whiteout, InNext: true}, Decision{Do: Carry}},
		{"removed, and not in the image any more", Entry{Path: "etc/old", Kind: Whiteout}, Decision{Do: Drop}},
		{"program removed with its package, which is back", Entry{Path: "usr/bin/theirs", Kind: Whiteout, InNext: true}, Decision{Do: Drop}},
		{"removed by a newer version that stays", Entry{Path: "usr/share/mine/x", Kind: Whiteout, InNext: true}, Decision{Do: Carry}},
		{"nobody's file", Entry{Path: "usr/lib/by-hand", Kind: File}, Decision{Do: Carry}},
		{"nobody's file, changed here and there", Entry{Path: "usr/lib/by-hand", Kind: File, InNext: true, Differs: true},
			Decision{Do: Drop, Conflict: "/usr/lib/by-hand was changed here and in the new image: the new image's is used"}},
		{"data", Entry{Path: "var/lib/mysql/ibdata1", Kind: File}, Decision{Do: Carry}},
		{"home", Entry{Path: "root/.bashrc", Kind: File, InNext: true}, Decision{Do: Carry}},
		{"kernel", Entry{Path: "boot/vmlinuz-6", Kind: File}, Decision{Do: Drop}},
		{"local program", Entry{Path: "usr/local/bin/x", Kind: File}, Decision{Do: Carry}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, Decide(tt.entry, owners, packages)); d != "" {
				t.Errorf("decision (-want +got):\n%s", d)
			}
		})
	}
}

func TestMergeLines(t *testing.T) {
	got := MergeLines("root:x:0\nme:x:1000\n", "root:*:0\nnew:x:101\n")
	if want := "root:x:0\nme:x:1000\nnew:x:101\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// tree writes files into a folder; a text that begins with "->" is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What apt has installed and what the administrator has written is there with the next image below, seen through a real
// overlay.
func TestApply(t *testing.T) {
	prerequisite.Have(t, os.Getuid() == 0, "root: whiteouts are devices")
	was := tree(t, map[string]string{
		"var/lib/dpkg/status": status(pkg("base", "1", here)), "var/lib/dpkg/info/base.list": "/.\n/bin/base\n/etc/base.conf\n",
		"usr/bin/base": "base 1", "etc/base.conf": "from 1", "etc/gone.conf": "x", "etc/passwd": "root:x:0:\n",
	})
	next := tree(t, map[string]string{
		"var/lib/dpkg/status": status(pkg("base", "2", here)), "var/lib/dpkg/info/base.list": "/.\n/bin/base\n/etc/base.conf\n",
		"usr/bin/base": "base 2", "etc/base.conf": "from 2", "etc/gone.conf": "x", "etc/passwd": "root:x:0:\nnew:x:9:\n", "etc/fresh": "fresh",
	})
	upper := tree(t, map[string]string{
		"var/lib/dpkg/status": status(pkg("base", "1", here), pkg("mine", "5", here)), "var/lib/dpkg/info/mine.list": "/.\n/usr/bin/mine\n/usr/bin/alias\n",
		"usr/bin/mine": "mine 5", "usr/bin/alias": "->mine", "etc/base.conf": "by hand", "etc/passwd": "root:x:0:\nme:x:1000:\n",
		"root/notes": "notes", "var/cache/apt/pkgcache.bin": "cache", "usr/bin/base": "base 1, patched",
	})
	for _, err := range []error{
		unix.Mknod(filepath.Join(upper, "etc/gone.conf"), unix.S_IFCHR, 0),
		os.Link(filepath.Join(upper, "root/notes"), filepath.Join(upper, "root/again")),
		unix.Lsetxattr(filepath.Join(upper, "root/notes"), "user.tag", []byte("kept"), 0),
		os.Chown(filepath.Join(upper, "root/notes"), 12, 34), unix.Chmod(filepath.Join(upper, "root/notes"), 0o4750),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := Plan(Roots{Upper: upper, Was: os.DirFS(was), Next: os.DirFS(next)})
	if err != nil {
		t.Fatal(err)
	}
	want := Report{Files: 9, Packages: []string{"mine"}, Dropped: 2, Notes: []string{"mine 5 was installed here, and stays"},
		Conflicts: []string{"/etc/base.conf was changed here and in the new image: this machine's stays"}}
	got := p.Report()
	got.Bytes = 0
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
	base := t.TempDir()
	to, work, mnt := filepath.Join(base, "upper"), filepath.Join(base, "work"), filepath.Join(base, "mnt")
	for _, dir := range []string{to, work, mnt} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Apply(context.Background(), to, nil); err != nil {
		t.Fatal(err)
	}
	err = unix.Mount("overlay", mnt, "overlay", 0, "lowerdir="+next+",upperdir="+to+",workdir="+work)
	prerequisite.Have(t, err == nil, fmt.Sprintf("overlay file systems: %v", err))
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	for file, want := range map[string]string{
		"usr/bin/base": "base 2", "usr/bin/mine": "mine 5", "usr/bin/alias": "mine 5", "etc/base.conf": "by hand", "etc/fresh": "fresh",
		"etc/passwd": "root:x:0:\nme:x:1000:\nnew:x:9:\n", "root/notes": "notes", "root/again": "notes",
	} {
		if data, err := os.ReadFile(filepath.Join(mnt, file)); string(data) != want {
			t.Errorf("%s is %q, %v, want %q", file, data, err, want)
		}
	}
	for _, file := range []string{"etc/gone.conf", "var/cache/apt/pkgcache.bin"} {
		if _, err := os.Lstat(filepath.Join(mnt, file)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", file, err)
		}
	}
	list, err := os.ReadFile(filepath.Join(mnt, "var/lib/dpkg/status"))
	if got := ParseStatus(string(list)); err != nil || len(got) != 2 || got[0].Version != "2" || got[1].Name != "mine" {
		t.Errorf("the list of packages is %v, %v", got, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(mnt, "root/notes"), &st); err != nil || st.Uid != 12 || st.Gid != 34 || st.Mode&0o7777 != 0o4750 || st.Nlink != 2 {
		t.Errorf("notes: owner %d:%d, mode %o, %d names, %v", st.Uid, st.Gid, st.Mode, st.Nlink, err)
	}
	var tag [8]byte
	if n, err := unix.Lgetxattr(filepath.Join(mnt, "root/notes"), "user.tag", tag[:]); err != nil || string(tag[:n]) != "kept" {
		t.Errorf("attribute %q, %v", tag[:max(n, 0)], err)
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add(status(pkg("a", "1", here), pkg("b", "2", gone)))
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range ParseStatus(text) {
			if p.Name == "" || !strings.Contains(text, strings.TrimSpace(p.Text)) {
				t.Errorf("an entry of nothing: %+v", p)
			}
		}
	})
}
