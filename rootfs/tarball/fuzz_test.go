package tarball

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"masthead/rootfs"
)

// FuzzScan holds that whatever comes in, reading ends without a panic, no name leaves the root, and what was announced as
// content can be read to its end or to an error.
func FuzzScan(f *testing.F) {
	for _, headers := range [][]tar.Header{
		{{Name: "a/b", Typeflag: tar.TypeReg, Size: 7}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"}, {Name: "l/x", Typeflag: tar.TypeLink, Linkname: "l/b"}},
		{{Name: ".wh.x", Typeflag: tar.TypeReg}, {Name: "d/.wh..wh..opq", Typeflag: tar.TypeReg}, {Name: "n", Typeflag: tar.TypeChar, Devmajor: 1}},
		{{Name: "s", Typeflag: tar.TypeReg, Mode: 0o4755, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}}},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if err := w.WriteHeader(&h); err != nil {
				f.Fatal(err)
			}
			io.WriteString(w, strings.Repeat("c", int(h.Size)))
		}
		w.Close()
		f.Add(b.Bytes())
	}
	// A sparse file of the old GNU form: archive/tar does not write any. 3 bytes of data at 512, 1024 in all.
	f.Add(gnuSparse())
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func(context.Context, *rootfs.Tree, io.ReaderAt, int64) error{root, layer} {
			tree := rootfs.New()
			err := read(context.Background(), tree, bytes.NewReader(data), int64(len(data)))
			for p, n := range tree.All() {
				if strings.HasPrefix(p, "/") || p == ".." || strings.HasPrefix(p, "../") {
					t.Errorf("name %q", p)
				}
				if err != nil || !n.IsRegular() || n.Size == 0 {
					continue
				}
				r, err := n.Open()
				if err != nil {
					continue // a sparse file that is torn
				}
				io.CopyN(io.Discard, r, 1<<20)
				r.Close()
			}
		}
	})
}

func gnuSparse() []byte {
	h := make([]byte, block)
	copy(h, "sparse")
	copy(h[100:], "0000644\x000000000\x000000000\x0000000000003\x0000000000000\x00        S")
	copy(h[257:], "ustar  \x00")
	copy(h[386:], "00000001000\x0000000000003\x00") // offset 512, 3 bytes
	copy(h[483:], "00000002000\x00")                // real size
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], []byte{'0', '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
	return append(append(h, append([]byte("abc"), make([]byte, block-3)...)...), make([]byte, 2*block)...)
}

func TestOldSparse(t *testing.T) {
	data := gnuSparse()
	tree := rootfs.New()
	if err := root(context.Background(), tree, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	n, err := tree.Lookup("sparse")
	if err != nil {
		t.Fatal(err)
	}
	r, err := n.Open()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	want := append(append(make([]byte, 512), "abc"...), make([]byte, 509)...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
