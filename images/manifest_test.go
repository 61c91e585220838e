package images

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	someDigest  = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	otherDigest = "sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
)

// Manifests as the versions of this program that wrote these formats did. They stay readable.
const (
	format1 = `{"format":1,"name":"worker","role":"worker","arch":"amd64","kernel_release":"6.12",` +
		`"kernel":{"digest":"` + someDigest + `","size":7},"initramfs":{"digest":"` + someDigest + `","size":9},"cmdline":"quiet",` +
		`"root":{"size":9000,"chunk_size":4096,"chunks":[{"d":"` + someDigest + `","s":20},{},{"d":"` + otherDigest + `","s":21}]}}`
	format2 = `{"format":2,"name":"worker","role":"worker","arch":"amd64","kernel_release":"6.12",` +
		`"kernel":{"digest":"` + someDigest + `","size":7},"initramfs":{"digest":"` + someDigest + `","size":9},"cmdline":"quiet",` +
		`"root":{"size":20480,"chunk_size":8192,"lengths":[4096,8192,8192],"chunks":[{"d":"` + someDigest + `","s":20},{},{"d":"` + otherDigest + `","s":21}]}}`
)

func TestManifestFormats(t *testing.T) {
	for _, tt := range []struct {
		text    string
		offsets Offsets
	}{
		{format1, Offsets{0, 4096, 8192, 9000}},
		{format2, Offsets{0, 4096, 12288, 20480}},
	} {
		m, err := DecodeManifest([]byte(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.offsets, m.Root.Offsets()); diff != "" {
			t.Errorf("offsets (-want +got):\n%s", diff)
		}
		data, _, err := m.Encode()
		if err != nil || string(data) != tt.text+"\n" {
			t.Errorf("encoded, %v:\n%s\nwant\n%s", err, data, tt.text)
		}
	}
}

func TestManifestErrors(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"a later format", `"format":2`, `"format":3,"novel":true`, "format 3, this version reads 1 to 2"},
		{"no format", `"format":2,`, ``, "format 0"},
		{"lengths in format 1", `"format":2`, `"format":1`, "lengths in format 1"},
		{"a length is missing", `[4096,8192,8192]`, `[4096,8192]`, "2 lengths for 3 chunks"},
		{"a chunk of nothing", `[4096,8192,8192]`, `[4096,0,8192]`, "chunk 1 of 0 bytes"},
		{"a negative chunk", `[4096,8192,8192]`, `[4096,-1,8192]`, "chunk 1 of -1 bytes"},
		{"a chunk too large", `[4096,8192,8192]`, `[4096,8193,8192]`, "chunk 1 of 8193 bytes, at most 8192"},
		{"too short in all", `[4096,8192,8192]`, `[4096,8192,8191]`, "20479 bytes in all for a size of 20480"},
		{"no lengths", `[4096,8192,8192]`, `[]`, "0 lengths"},
		{"one digest, two lengths", otherDigest, someDigest, "under the same digest"},
		{"an unknown field", `"size":20480`, `"size":20480,"x":1`, "unknown field"},
	} {
		text := strings.Replace(format2, tt.old, tt.new, 1)
		if _, err := DecodeManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// TestOffsets compares the search with a walk.
func TestOffsets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Root{ChunkSize: 1 << 20, Lengths: rapid.SliceOfN(rapid.Int64Range(1, 50), 1, 40).Draw(t, "lengths")}
		r.Chunks = make([]Chunk, len(r.Lengths))
		var walk []int
		for i, n := range r.Lengths {
			walk = append(walk, slices.Repeat([]int{i}, int(n))...)
		}
		o := r.Offsets()
		for at, want := range walk {
			if got := o.Chunk(int64(at)); got != want {
				t.Fatalf("byte %d is in chunk %d, want %d", at, got, want)
			}
		}
	})
}

func TestManifestOfARealSize(t *testing.T) {
	m, err := DecodeManifest([]byte(format2))
	if err != nil {
		t.Fatal(err)
	}
	m.Root = Root{ChunkSize: 512 << 10}
	for range 2500 { // a Debian worker
		m.Root.Size += 210_000
		m.Root.Lengths = append(m.Root.Lengths, 210_000)
		m.Root.Chunks = append(m.Root.Chunks, Chunk{someDigest, 100_000})
	}
	data, err := json.Marshal(m)
	if err != nil || len(data) > 350<<10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
