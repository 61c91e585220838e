package initramfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"masthead/images"
	"masthead/rootfs/kernel"
	"masthead/rootfs/kernel/kerneltest"
	"masthead/rootfs/module"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// config is a small initramfs: two modules, one of them packed, and firmware for one.
func config(t testing.TB) Config {
	t.Helper()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write([]byte("module b")); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	x := &module.Index{
		Modules: []module.Module{
			{Path: "kernel/a.ko", Name: "a", Size: 8, Aliases: []string{"pci:*"}, Deps: []int{1}, Firmware: []string{"a/fw.bin", "a/none.bin", "a/packed.bin", "../escape"}},
			{Path: "kernel/sub/b.ko.gz", Name: "b", Size: 8, Softdeps: []string{"pre: c"}},
			{Path: "kernel/left.ko", Name: "left", Size: 1},
		},
		Builtin: []string{"kernel/in.ko"},
	}
	sel, err := x.Select([]module.Class{{Take: []string{"a"}}})
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Baked: images.Baked{Name: "n", Role: images.RoleHead, KernelRelease: "6.1", Early: []string{"nbd"}},
		Init:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("binary")), nil }, InitSize: 6,
		Modules: fstest.MapFS{"kernel/a.ko": {Data: []byte("module a")}, "kernel/sub/b.ko.gz": {Data: packed.Bytes()}},
		Index:   x, Selection: sel,
		Firmware: fstest.MapFS{"a/fw.bin": {Data: []byte("firmware")}, "a/packed.bin.xz": {Data: []byte("packed")}, "b/other": {}},
		Extra:    []Entry{Bytes("opt/tool/x", 0o755, []byte("x"))},
	}
}

// unpack reads an initramfs as the kernel does: frame by frame, archive by archive. Directories must come before what is
// in them, across frames, too.
func unpack(t testing.TB, data []byte) map[string]string {
	t.Helper()
	zr, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	files := map[string]string{}
	plain, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	rest := bytes.NewReader(plain)
	for rest.Len() > 0 {
		r := cpio.NewReader(rest)
		for {
			h, err := r.Next()
			if err == io.EOF {
				// The trailer is padded to four bytes, which the reader leaves.
				if pad := (4 - (len(plain)-rest.Len())%4) % 4; pad > 0 {
					if _, err := rest.Seek(int64(pad), io.SeekCurrent); err != nil {
						t.Fatal(err)
					}
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if dir := filepath.Dir(h.Name); dir != "." && files[dir] != "dir" {
				t.Errorf("%s comes before its directory", h.Name)
			}
			if _, twice := files[h.Name]; twice {
				t.Errorf("%s: twice", h.Name)
			}
			if files[h.Name] = string(text); h.Mode&^0o7777 == cpio.TypeDir {
				files[h.Name] = "dir"
			}
		}
	}
	return files
}

func build(t testing.TB, c Config) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := Build(context.Background(), &buf, c); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestBuild(t *testing.T) {
	c := config(t)
	got := unpack(t, build(t, c))
	for name, text := range got {
		if text == "dir" {
			delete(got, name)
		}
	}
	want := map[string]string{
		"dev/console": "", "dev/kmsg": "", "dev/null": "",
		"etc/masthead/image.json":         "{\n  \"name\": \"n\",\n  \"role\": \"head\",\n  \"kernel_release\": \"6.1\",\n  \"early\": [\n    \"nbd\"\n  ]\n}\n",
		"init":                            "binary",
		"lib/firmware/a/fw.bin":           "firmware",
		"lib/firmware/a/packed.bin.xz":    "packed",
		"lib/modules/6.1/kernel/a.ko":     "module a",
		"lib/modules/6.1/kernel/sub/b.ko": "module b",
		"lib/modules/6.1/modules.alias":   "# Aliases extracted from modules themselves.\nalias pci:* a\n",
		"lib/modules/6.1/modules.builtin": "kernel/in.ko\n",
		"lib/modules/6.1/modules.dep":     "kernel/a.ko: kernel/sub/b.ko\nkernel/sub/b.ko:\n",
		"lib/modules/6.1/modules.softdep": "# Soft dependencies extracted from modules themselves.\nsoftdep b pre: c\n",
		"opt/tool/x":                      "x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBuildRefuses(t *testing.T) {
	for title, change := range map[string]func(*Config){
		"no release":              func(c *Config) { c.Baked.KernelRelease = "" },
		"no init":                 func(c *Config) { c.Init = nil },
		"init of another size":    func(c *Config) { c.InitSize = 7 },
		"a module is gone":        func(c *Config) { c.Modules = fstest.MapFS{} },
		"something twice":         func(c *Config) { c.Extra = append(c.Extra, Dir("init", 0o755)) },
		"a module of other size":  func(c *Config) { c.Index.Modules[0].Size = 9 },
		"firmware that is unread": func(c *Config) { c.Firmware = brokenFS{} },
	} {
		c := config(t)
		change(&c)
		if err := Build(context.Background(), io.Discard, c); err == nil {
			t.Errorf("%s: no error", title)
		}
	}
}

type brokenFS struct{}

func (brokenFS) Open(name string) (fs.File, error) { return nil, errors.New("broken") }

// TestDebian builds the initramfs of Debian's generic kernel and holds it against what it may weigh.
func TestDebian(t *testing.T) {
	k := kerneltest.Debian(t, kernel.Debian{Package: kernel.Generic})
	if !k.Has("CONFIG_RD_ZSTD") {
		t.Errorf("kernel %s does not unpack zstd", k.Release)
	}
	x := kerneltest.Index(t, k)
	sel, err := x.Select(module.Server())
	if err != nil {
		t.Fatal(err)
	}
	c := config(t)
	c.Baked.KernelRelease, c.Modules, c.Index, c.Selection = k.Release, k.Modules, x, sel
	c.Cache = filepath.Join(kerneltest.Cache(t), "modules")
	data := build(t, c)
	t.Logf("%s: %d modules in %d bytes", k.Release, len(sel.Load), len(data))
	// 30 MB are allowed in all, of which a binary of 30 MB takes nine.
	if limit := 21 << 20; len(data) > limit {
		t.Errorf("%d bytes without the binary, at most %d", len(data), limit)
	}
	files := unpack(t, data)
	for _, i := range sel.Load {
		m := x.Modules[i]
		if text := files[c.moduleDir()+"/"+module.PlainPath(m.Path)]; int64(len(text)) != m.Size || !strings.HasPrefix(text, "\x7fELF") {
			t.Errorf("%s: %d bytes, want %d", m.Path, len(text), m.Size)
		}
	}
}

// TestSameBytes builds with and without a cache, with a damaged one, and on one processor.
func TestSameBytes(t *testing.T) {
	c := config(t)
	want := build(t, c)
	c.Cache = t.TempDir()
	for range 2 {
		if !bytes.Equal(want, build(t, c)) {
			t.Error("with a cache: other bytes")
		}
	}
	files, err := filepath.Glob(filepath.Join(c.Cache, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	frame, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	frame[len(frame)-1] ^= 1
	if err := os.WriteFile(files[0], frame, 0o644); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, build(t, c)) {
		t.Error("with a damaged cache: other bytes")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c.Cache = ""
	if !bytes.Equal(want, build(t, c)) {
		t.Error("on one processor: other bytes")
	}
}

func TestAmend(t *testing.T) {
	var base, amended bytes.Buffer
	c := config(t)
	if err := Build(t.Context(), &base, c); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadBaked(bytes.NewReader(base.Bytes())); err != nil || !cmp.Equal(got, c.Baked) {
		t.Errorf("baked: %+v, %v, want %+v", got, err, c.Baked)
	}
	worker := c.Baked
	worker.Name, worker.Role = "w", images.RoleWorker
	if err := Amend(&amended, bytes.NewReader(base.Bytes()), worker); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(amended.Bytes(), base.Bytes()) {
		t.Error("what was there is not as it was")
	}
	zr, err := zstd.NewReader(bytes.NewReader(amended.Bytes()[base.Len():]))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	archive := cpio.NewReader(zr)
	h, err := archive.Next()
	if err != nil || h.Name != strings.TrimPrefix(images.InitramfsConfig, "/") {
		t.Fatalf("first file of the amendment: %+v, %v", h, err)
	}
	var got images.Baked
	if err := json.NewDecoder(archive).Decode(&got); err != nil || !cmp.Equal(got, worker) {
		t.Errorf("init is told %+v, %v, want %+v", got, err, worker)
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Errorf("after it: %v", err)
	}
	if _, err := ReadBaked(strings.NewReader("no initramfs")); err == nil {
		t.Error("read what is none")
	}
}
