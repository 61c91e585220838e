package install

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"masthead/images"
)

// miniISO is the least that is an ISO of ours: a pack with one image for heads, its kernel and its initramfs.
func miniISO(t testing.TB, content string) ([]byte, Source) {
	t.Helper()
	store, err := images.OpenStore(t.TempDir())
	must(t, err)
	put := func(text string) images.Blob {
		b, err := store.PutBytes([]byte(text))
		must(t, err)
		return b
	}
	kernel, ramfs, chunk := "kernel "+content, "initramfs "+content, strings.Repeat("chunk "+content, 300)
	c := put(chunk)
	m := images.Manifest{Format: images.ManifestFormat, Name: "head", Role: images.RoleHead, Arch: "amd64", KernelRelease: "6.1-" + content,
		Kernel: put(kernel), Initramfs: put(ramfs), Init: "/sbin/init",
		Root: images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{{Digest: c.Digest, Size: c.Size}}}}
	d, err := store.PutManifest(m)
	must(t, err)
	plan, err := images.PlanPack(store, map[string]images.Digest{"head": d})
	must(t, err)
	r, err := plan.Open()
	must(t, err)
	defer r.Close()
	pack, err := io.ReadAll(r)
	must(t, err)
	return layISO(map[string]string{"MASTHEAD/PACK.;1": string(pack), "BOOT/VMLINUZ.;1": kernel, "BOOT/INITRAMFS.;1": ramfs}), Source{Name: "head", Image: d, Kernel: "6.1-" + content, Size: 0}
}

// layISO writes ISO 9660 with one level of folders.
func layISO(files map[string]string) []byte {
	next := uint32(20)
	var body bytes.Buffer
	put := func(data []byte) (lba, size uint32) {
		lba, size = next, uint32(len(data))
		body.Write(data)
		if rest := len(data) % isoSector; rest > 0 {
			body.Write(make([]byte, isoSector-rest))
		}
		next = 20 + uint32(body.Len()/isoSector)
		return lba, size
	}
	record := func(name string, flags byte, lba, size uint32) []byte {
		rec := make([]byte, (33+len(name)+1)/2*2)
		rec[0], rec[25], rec[32] = byte(len(rec)), flags, byte(len(name))
		binary.LittleEndian.PutUint32(rec[2:], lba)
		binary.LittleEndian.PutUint32(rec[10:], size)
		copy(rec[33:], name)
		return rec
	}
	dirs := map[string][]byte{}
	for path, text := range files {
		dir, name, _ := strings.Cut(path, "/")
		lba, size := put([]byte(text))
		dirs[dir] = append(dirs[dir], record(name, 0, lba, size)...)
	}
	var root []byte
	for name, data := range dirs {
		data = append(data, make([]byte, isoSector-len(data))...)
		lba, size := put(data)
		root = append(root, record(name, isoDirectory, lba, size)...)
	}
	root = append(root, make([]byte, isoSector-len(root))...)
	lba, size := put(root)
	image := make([]byte, 20*isoSector)
	d := image[isoDescriptor:]
	d[0] = 1
	copy(d[1:], "CD001\x01")
	copy(d[isoVolumeID:], images.MediumLabel+strings.Repeat(" ", 32-len(images.MediumLabel)))
	copy(d[isoRoot:], record("\x00", isoDirectory, lba, size))
	image = append(image, body.Bytes()...)
	binary.LittleEndian.PutUint32(image[isoDescriptor+isoVolumeSize:], uint32(len(image)/isoSector))
	return image
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestVolume(t *testing.T) {
	data, want := miniISO(t, "one")
	v, err := OpenVolume(bytes.NewReader(data), int64(len(data)))
	must(t, err)
	got, _, err := v.Head()
	must(t, err)
	if want.Size = int64(len(data)); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	f, err := v.File("boot/vmlinuz")
	must(t, err)
	text, err := io.ReadAll(f)
	if string(text) != "kernel one" || err != nil {
		t.Errorf("the kernel is %q, %v", text, err)
	}
	if _, err := v.File("boot/none"); err == nil {
		t.Error("a file that is not there was found")
	}
	if _, err := OpenVolume(bytes.NewReader(data), int64(len(data)-1)); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("cut short: %v", err)
	}
	data[isoDescriptor+isoVolumeID] = 'X'
	if _, err := OpenVolume(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "label") {
		t.Errorf("of somebody else: %v", err)
	}
}

func FuzzVolume(f *testing.F) {
	data, _ := miniISO(f, "x")
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := OpenVolume(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if r, err := v.File("boot/vmlinuz"); err == nil {
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Errorf("a file that was found cannot be read: %v", err)
			}
		}
		_, _, _ = v.Head()
	})
}
