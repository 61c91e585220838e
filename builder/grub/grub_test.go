package grub

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz/lzma"
)

func parts(t testing.TB) fs.FS {
	t.Helper()
	if _, err := os.Stat("/" + Dir + "/kernel.img"); err != nil {
		prerequisite.Missing(t, "GRUB for BIOS (Debian package grub-pc-bin): %v", err)
	}
	return os.DirFS("/" + Dir)
}

var config = Config{Prefix: "(,gpt2)/grub", Modules: []string{"biosdisk", "part_gpt", "fat", "iso9660", "normal", "linux", "loadenv", "serial", "test"}}

// GRUB's own mkimage makes the same of the same parts; only its compressor packs a tenth tighter.
func TestCoreIsThatOfMkimage(t *testing.T) {
	dir := parts(t)
	tool := prerequisite.Program(t, "grub-mkimage")
	file := filepath.Join(t.TempDir(), "core.img")
	args := append([]string{"-O", "i386-pc", "-d", "/" + Dir, "-p", config.Prefix, "-o", file}, config.Modules...)
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("grub-mkimage: %v\n%s", err, out)
	}
	theirs, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := Core(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("core.img: ours %d bytes, grub-mkimage's %d", len(ours), len(theirs))
	if len(ours) > len(theirs)*5/4 {
		t.Errorf("core.img has %d bytes, grub-mkimage's %d", len(ours), len(theirs))
	}
	gotHead, gotBody := takeApart(t, dir, ours)
	wantHead, wantBody := takeApart(t, dir, theirs)
	if !bytes.Equal(gotHead, wantHead) {
		t.Errorf("boot sector and decompressor differ, besides the sizes:\n%s", cmp.Diff(wantHead, gotHead))
	}
	if !bytes.Equal(gotBody, wantBody) {
		t.Errorf("kernel and modules differ: %d bytes, want %d", len(gotBody), len(wantBody))
	}
}

// takeApart unpacks a core image; the sizes, which follow from the compression, are checked and cleared.
func takeApart(t *testing.T, dir fs.FS, core []byte) (head, body []byte) {
	t.Helper()
	start, err := fs.ReadFile(dir, "lzma_decompress.img")
	if err != nil {
		t.Fatal(err)
	}
	at := sectorSize + len(start)
	head = bytes.Clone(core[:at])
	packed := binary.LittleEndian.Uint32(head[sectorSize+compressedSizeAt:])
	unpacked := binary.LittleEndian.Uint32(head[sectorSize+uncompressedSizeAt:])
	if want := len(core) - at; int(packed) != want {
		t.Errorf("the header says %d compressed bytes, there are %d", packed, want)
	}
	if got, want := int(binary.LittleEndian.Uint16(head[listSizeAt:])), (len(core)-sectorSize+511)/512; got != want {
		t.Errorf("the block list says %d sectors, there are %d", got, want)
	}
	clear(head[listSizeAt : listSizeAt+2])
	clear(head[sectorSize+compressedSizeAt : sectorSize+uncompressedSizeAt+4])
	stream := append([]byte{0x5d, 0, 0, 1, 0}, binary.LittleEndian.AppendUint64(nil, uint64(unpacked))...)
	r, err := lzma.NewReader(bytes.NewReader(append(stream, core[at:]...)))
	if err != nil {
		t.Fatal(err)
	}
	if body, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return head, body
}

func TestCoreIsReproducible(t *testing.T) {
	dir := parts(t)
	first, err := Core(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Core(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("two runs give different bytes")
	}
}

func TestClosure(t *testing.T) {
	dir := fstest.MapFS{"moddep.lst": {Data: []byte("normal: terminal extcmd\nterminal:\nextcmd: terminal\nfat: fshelp\nfshelp:\nbad: gone\n\n")}}
	got, err := closure(dir, []string{"fat", "normal", "fshelp"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"fshelp", "fat", "terminal", "extcmd", "normal"}, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
	if _, err := closure(dir, []string{"bad"}); err == nil || !strings.Contains(err.Error(), "bad → gone") {
		t.Errorf("got error %v, want one that names the missing module and who needs it", err)
	}
}

func TestCoreRefusesBrokenParts(t *testing.T) {
	whole := parts(t)
	for _, name := range []string{"kernel.img", "diskboot.img", "lzma_decompress.img", "moddep.lst", "fat.mod"} {
		t.Run(name, func(t *testing.T) {
			dir := fstest.MapFS{}
			for _, n := range []string{"kernel.img", "diskboot.img", "lzma_decompress.img", "moddep.lst", "fat.mod", "fshelp.mod"} {
				data, err := fs.ReadFile(whole, n)
				if err != nil {
					t.Fatal(err)
				}
				dir[n] = &fstest.MapFile{Data: data}
			}
			if _, err := Core(dir, Config{Prefix: "/", Modules: []string{"fat"}}); err != nil {
				t.Fatalf("whole parts: %v", err)
			}
			delete(dir, name)
			if _, err := Core(dir, Config{Prefix: "/", Modules: []string{"fat"}}); err == nil {
				t.Error("made without " + name)
			}
		})
	}
}
