package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"masthead/rootfs/apt"
	"masthead/rootfs/apt/apttest"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"
	"pault.ag/go/debian/version"
)

// image is the start of a bzImage of that release.
func image(release string) []byte {
	b := make([]byte, 0x300)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x80)
	copy(b[0x280:], release+" (someone@example) #1 SMP\x00")
	return b
}

type tarFile struct {
	name, text string
	kind       byte
}

// makeDeb makes a Debian package: an ar archive of debian-binary, control.tar and data.tar.xz.
func makeDeb(t *testing.T, files ...tarFile) []byte {
	t.Helper()
	pack := func(files []tarFile) []byte {
		var buf bytes.Buffer
		tw := tar.NewWriter(&buf)
		for _, f := range files {
			h := &tar.Header{Name: f.name, Typeflag: f.kind, Size: int64(len(f.text)), Mode: 0o644}
			if f.kind == tar.TypeSymlink {
				h.Size, h.Linkname = 0, f.text
			}
			if err := tw.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				if _, err := tw.Write([]byte(f.text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	var data bytes.Buffer
	xw, err := xz.NewWriter(&data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := xw.Write(pack(files)); err != nil {
		t.Fatal(err)
	}
	if err := xw.Close(); err != nil {
		t.Fatal(err)
	}
	out := bytes.NewBufferString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar", pack([]tarFile{{"./control", "Package: x\nVersion: 1\nArchitecture: amd64\n", tar.TypeReg}})},
		{"data.tar.xz", data.Bytes()},
	} {
		fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out.Write(m.data)
		if len(m.data)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

func kernelDeb(t *testing.T, release, usr string) []byte {
	return makeDeb(t,
		tarFile{"./boot/vmlinuz-" + release, string(image(release)), tar.TypeReg},
		tarFile{"./boot/config-" + release, "CONFIG_RD_ZSTD=y\nCONFIG_NBD=m\n", tar.TypeReg},
		tarFile{"./boot/System.map-" + release, "not wanted", tar.TypeReg},
		tarFile{"./" + usr + "lib/modules/" + release + "/kernel/a.ko", "module", tar.TypeReg},
		tarFile{"./" + usr + "lib/modules/" + release + "/build", "/usr/src/linux", tar.TypeSymlink},
		tarFile{"./usr/share/doc/x", "not wanted", tar.TypeReg},
		tarFile{"./lib/modules/../../../../escape", "not wanted", tar.TypeReg},
	)
}

func TestFromDebian(t *testing.T) {
	a := apttest.New(t)
	old := apttest.Package{Name: "linux-image-6.12.9-amd64", Version: "6.12.9-1", Depends: "kmod", Deb: kernelDeb(t, "6.12.9-amd64", "usr/")}
	fresh := apttest.Package{Name: "linux-image-6.12.10-amd64", Version: "6.12.10-1", Depends: "kmod", Deb: kernelDeb(t, "6.12.10-amd64", "")}
	meta := func(p apttest.Package) apttest.Package {
		return apttest.Package{Name: "linux-image-amd64", Version: p.Version, Depends: p.Name + " (= " + p.Version + ")", Deb: []byte("meta")}
	}
	a.Suite("trixie", "", meta(old), old)
	a.Suite("trixie-updates", "", meta(fresh), fresh) // and no trixie-security: not every mirror has it

	cache := t.TempDir()
	client, err := apt.NewClient(apt.Config{Cache: cache, Root: a.Host()})
	if err != nil {
		t.Fatal(err)
	}
	get := func() *Kernel {
		t.Helper()
		k, err := FromDebian(context.Background(), client, Debian{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := k.Image.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		release, err := ImageRelease(r)
		if err != nil || release != "6.12.10-amd64" || k.Release != release {
			t.Errorf("release %q, image %q, %v", k.Release, release, err)
		}
		if data, err := fs.ReadFile(k.Modules, "kernel/a.ko"); string(data) != "module" || err != nil {
			t.Errorf("module: %q, %v", data, err)
		}
		return k
	}
	k := get()
	if !k.Has("CONFIG_NBD") || k.Has("CONFIG_NB") || k.Source != "linux-image-6.12.10-amd64 6.12.10-1" {
		t.Errorf("%+v", k)
	}
	var names []string
	err = filepath.WalkDir(filepath.Dir(filepath.Dir(filepath.Dir(k.ModulesDir))), func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, e.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"SHA256SUMS", "config-6.12.10-amd64", "vmlinuz-6.12.10-amd64", "a.ko"}, names); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}

	a.Asked()
	get()
	if asked := a.Asked(".deb", "Packages.xz"); len(asked) > 0 {
		t.Errorf("asked again for %v", asked)
	}
	if err := os.WriteFile(filepath.Join(k.ModulesDir, "kernel/a.ko"), []byte("mod\x00le"), 0o644); err != nil {
		t.Fatal(err)
	}
	get()
	if asked := a.Asked(".deb"); len(asked) != 1 {
		t.Errorf("after damage: asked for %v", asked)
	}
	a.Stop()
	get()

	_, err = FromDebian(context.Background(), client, Debian{Package: "linux-image-none"})
	if err == nil || !strings.Contains(err.Error(), "linux-image-none of trixie") {
		t.Errorf("error: %v", err)
	}
}

func TestFromDebianWithoutArchive(t *testing.T) {
	a := apttest.New(t)
	client, err := apt.NewClient(apt.Config{Cache: t.TempDir(), Root: a.Host()})
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range []string{"trixie", "sid"} {
		if _, err := FromDebian(context.Background(), client, Debian{Suite: suite}); !errors.Is(err, ErrNoArchive) {
			t.Errorf("%s: %v", suite, err)
		}
	}
}

func TestChoose(t *testing.T) {
	p := func(name, v string, depends ...string) apt.Package {
		parsed, err := version.Parse(v)
		if err != nil {
			t.Fatal(err)
		}
		return apt.Package{Name: name, Version: parsed, Depends: depends}
	}
	all := []apt.Package{
		p("linux-image-amd64", "6.12.9-1", "linux-image-6.12.9-amd64"), p("linux-image-6.12.9-amd64", "6.12.9-1", "kmod", "linux-base"),
		p("linux-image-amd64", "6.12.107-1", "linux-image-6.12.107-amd64"), p("linux-image-6.12.107-amd64", "6.12.107-1"),
		p("linux-image-loop", "1", "linux-image-loop"), p("linux-image-broken", "1", "linux-image-gone"),
	}
	for _, tt := range []struct{ name, want string }{
		{"linux-image-amd64", "linux-image-6.12.107-amd64"},
		{"linux-image-6.12.9-amd64", "linux-image-6.12.9-amd64"},
		{"linux-image-loop", "without end"},
		{"linux-image-broken", "no package linux-image-gone"},
	} {
		got, err := choose(all, tt.name)
		if err != nil {
			got.Name = err.Error()
		}
		if !strings.Contains(got.Name, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got.Name, tt.want)
		}
	}
}

func TestImageRelease(t *testing.T) {
	noString := image("6.1")
	binary.LittleEndian.PutUint16(noString[0x20e:], 0)
	for _, tt := range []struct {
		title string
		data  []byte
		want  string
	}{
		{"a kernel", image("6.12.1-amd64"), "6.12.1-amd64"},
		{"nothing", nil, ""},
		{"not a kernel", make([]byte, 4096), ""},
		{"no version", noString, ""},
		{"cut off", image("6.1")[:0x284], ""},
		{"a path", image("../6.1"), ""},
	} {
		got, err := ImageRelease(bytes.NewReader(tt.data))
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v", tt.title, got, err)
		}
	}
}

func FuzzImageRelease(f *testing.F) {
	f.Add(image("6.12.1-amd64"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := ImageRelease(bytes.NewReader(data)); err == nil && (got == "" || strings.Contains(got, "/")) {
			t.Errorf("%q", got)
		}
	})
}

func TestFromRoot(t *testing.T) {
	file := &fstest.MapFile{Data: []byte("x")}
	for _, tt := range []struct {
		title string
		root  fstest.MapFS
		want  string
	}{
		{"Debian, merged usr", fstest.MapFS{"boot/vmlinuz-6.12.9-amd64": file, "usr/lib/modules/6.12.9-amd64/kernel/a.ko": file}, "6.12.9-amd64"},
		{"Debian of old", fstest.MapFS{"boot/vmlinuz-6.1.0-9-amd64": file, "lib/modules/6.1.0-9-amd64/kernel/a.ko": file}, "6.1.0-9-amd64"},
		{"Fedora", fstest.MapFS{"usr/lib/modules/6.9.1-200.fc40.x86_64/vmlinuz": file, "usr/lib/modules/6.9.1-200.fc40.x86_64/kernel/a.ko": file}, "6.9.1-200.fc40.x86_64"},
		{"the newest", fstest.MapFS{
			"boot/vmlinuz-6.12.9-amd64": file, "usr/lib/modules/6.12.9-amd64/kernel/a.ko": file,
			"boot/vmlinuz-6.12.107-amd64": file, "usr/lib/modules/6.12.107-amd64/kernel/a.ko": file,
			"usr/lib/modules/6.13.1-amd64/kernel/a.ko": file,                                                   // no image
			"boot/vmlinuz-6.14.1-amd64":                file, "usr/lib/modules/6.14.1-amd64/modules.dep": file, // removed, bits left
		}, "6.12.107-amd64"},
		{"none", fstest.MapFS{"boot/vmlinuz-6.1": file}, ""},
	} {
		k, err := FromRoot(tt.root)
		if tt.want == "" {
			if !errors.Is(err, ErrNone) {
				t.Errorf("%s: %v", tt.title, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.title, err)
			continue
		}
		if _, err := fs.Stat(k.Modules, "kernel/a.ko"); k.Release != tt.want || k.Image.Size != 1 || err != nil {
			t.Errorf("%s: %+v, %v", tt.title, k, err)
		}
	}
}

func TestFromFiles(t *testing.T) {
	dir := t.TempDir()
	vmlinuz, modules := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "6.1-test")
	if err := os.MkdirAll(filepath.Join(modules, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{vmlinuz: image("6.1-test"), filepath.Join(dir, "config-6.1-test"): []byte("CONFIG_X=y\n"), filepath.Join(dir, "other"): image("6.2")} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	k, err := FromFiles(vmlinuz, modules)
	if err != nil {
		t.Fatal(err)
	}
	r, err := k.Image.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || int64(len(data)) != k.Image.Size || k.Release != "6.1-test" || !k.Has("CONFIG_X") {
		t.Errorf("%+v, %v", k, err)
	}
	for _, tt := range [][2]string{{"other", "6.1-test"}, {"none", "6.1-test"}, {"vmlinuz", "none"}} {
		if _, err := FromFiles(filepath.Join(dir, tt[0]), filepath.Join(dir, tt[1])); err == nil {
			t.Errorf("%v: no error", tt)
		}
	}
}

// Several builds that want the same kernel at once download it once.
func TestFromDebianTogether(t *testing.T) {
	a := apttest.New(t)
	p := apttest.Package{Name: "linux-image-6.12.9-amd64", Version: "6.12.9-1", Deb: kernelDeb(t, "6.12.9-amd64", "usr/")}
	a.Suite("trixie", "", p)
	client, err := apt.NewClient(apt.Config{Cache: t.TempDir(), Root: a.Host()})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := FromDebian(context.Background(), client, Debian{Package: p.Name}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked := a.Asked(".deb"); len(asked) != 1 {
		t.Errorf("asked for %v", asked)
	}
}
