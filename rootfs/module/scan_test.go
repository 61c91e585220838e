package module

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func fakeIndex(t testing.TB) *Index {
	t.Helper()
	x, err := Scan(context.Background(), fakeTree(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestScan(t *testing.T) {
	want := map[string]string{
		"modules.dep": "kernel/net/nic.ko.xz: kernel/lib/ring.ko.zst kernel/lib/bus-core.ko\n" +
			"kernel/lib/ring.ko.zst: kernel/lib/bus-core.ko\n" +
			"kernel/crypto/fast.ko.gz:\nkernel/crypto/slow.ko:\nkernel/lib/bus-core.ko:\nkernel/misc/after.ko:\nupdates/lonely.ko:\n",
		"modules.alias": "# Aliases extracted from modules themselves.\n" +
			"alias pci:v00001AF4d00001000sv* nic\nalias virtio:d1-x nic\nalias crc32c fast\nalias crypto-crc32c fast\nalias crc32c slow\n" +
			"alias char-major-10-200 bus_core\nalias devname:net/bus bus_core\nalias newer lonely\n",
		"modules.softdep": "# Soft dependencies extracted from modules themselves.\nsoftdep nic pre: crc32c post: after\n",
		"modules.weakdep": "# Weak dependencies extracted from modules themselves.\nweakdep slow fast\n",
		"modules.symbols": "# Aliases for symbols, used by symbol_request().\n" +
			"alias symbol:bus_register bus_core\nalias symbol:ring_add ring\nalias symbol:ring_del ring\n",
		"modules.devname": "# Device nodes to trigger on-demand module loading.\nbus_core net/bus c10:200\n",
	}
	files, err := fakeIndex(t).Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, ok := want[f.Name]; ok {
			if diff := cmp.Diff(text, string(f.Data)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", f.Name, diff)
			}
			delete(want, f.Name)
		}
	}
	for name := range want {
		t.Errorf("no %s", name)
	}
}

func TestScanRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"kernel/bad.ko", []byte("not ELF"), "kernel/bad.ko: not a kernel module"},
		{"kernel/bad.ko.xz", []byte("not xz"), "kernel/bad.ko.xz"},
		{"kernel/bad.ko.zst", []byte("not zstd"), "kernel/bad.ko.zst"},
		{"kernel/bad.ko.gz", []byte("not gzip"), "kernel/bad.ko.gz"},
		{"kernel/bad.ko.xz", packed(t, ".xz", fakeModule{}.object())[:100], "kernel/bad.ko.xz"},
	} {
		_, err := Scan(context.Background(), fstest.MapFS{tt.name: {Data: tt.data}}, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A circle of dependencies cannot be loaded; real depmod refuses it, too.
func TestCircle(t *testing.T) {
	x, err := Scan(context.Background(), fstest.MapFS{
		"kernel/a.ko": {Data: fakeModule{exports: []string{"a"}, imports: []string{"b"}}.object()},
		"kernel/b.ko": {Data: fakeModule{exports: []string{"b"}, imports: []string{"a"}}.object()},
		"kernel/c.ko": {Data: fakeModule{}.object()},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Files(); err == nil || !strings.HasSuffix(err.Error(), ": a, b") {
		t.Errorf("error: %v", err)
	}
}

func TestCached(t *testing.T) {
	ctx := context.Background()
	cache, tree := t.TempDir(), fakeTree(t)
	scans := 0
	count := func(done, total int) {
		if done == total {
			scans++
		}
	}
	first, err := Cached(ctx, tree, cache, count)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Cached(ctx, tree, cache, count)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" || scans != 1 {
		t.Errorf("from the cache, after %d scans (-first +second):\n%s", scans, diff)
	}
	files, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if x, err := Cached(ctx, tree, cache, count); err != nil || scans != 2 || cmp.Diff(first, x) != "" {
		t.Errorf("damaged cache: %d scans, %v", scans, err)
	}
	tree["kernel/misc/after.ko"].Data = fakeModule{info: []string{"alias=new"}}.object()
	if x, err := Cached(ctx, tree, cache, count); err != nil || scans != 3 || cmp.Diff(first, x) == "" {
		t.Errorf("changed module: %d scans, %v", scans, err)
	}
}

func TestPlain(t *testing.T) {
	tree := fakeTree(t)
	for name, f := range tree {
		if !isModule(name) || strings.HasPrefix(name, "build/") {
			continue
		}
		data, err := Plain(tree, name)
		if err != nil {
			t.Fatal(err)
		}
		if PlainPath(name) == name && !bytes.Equal(data, f.Data) || !bytes.HasPrefix(data, []byte("\x7fELF")) {
			t.Errorf("%s: %d bytes", name, len(data))
		}
	}
}

func TestSubset(t *testing.T) {
	x := fakeIndex(t)
	sel, err := x.Select([]Class{{Take: []string{"ring"}}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := x.Subset(sel.Load).Plain().Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name == "modules.dep" {
			want := "kernel/lib/ring.ko: kernel/lib/bus-core.ko\nkernel/lib/bus-core.ko:\n"
			if diff := cmp.Diff(want, string(f.Data)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
}

func FuzzReadELF(f *testing.F) {
	f.Add(fakeModule{info: []string{"alias=a*", "softdep=pre: b"}, exports: []string{"x"}, imports: []string{"y"}, crcs: true}.object())
	f.Add(fakeModule{}.object())
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readELF(data)
		if err != nil {
			return
		}
		m := describe("kernel/x.ko", int64(len(data)), c)
		x := &Index{Modules: []Module{m}, BuiltinInfo: c.info}
		if _, err := x.Files(); err != nil {
			t.Errorf("one module without dependencies: %v", err)
		}
	})
}

func FuzzDecompress(f *testing.F) {
	for _, ext := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		f.Add(packed(f, ext, fakeModule{}.object()), ext)
	}
	f.Fuzz(func(t *testing.T, data []byte, ext string) {
		var d decompressor
		defer d.close()
		if plain, err := d.decode(data, filepath.Ext(ext)); err == nil && len(plain) > maxModule {
			t.Errorf("%d bytes", len(plain))
		}
	})
}
