package tarball

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// format is how an archive is compressed.
type format int

const (
	plain format = iota
	gzipped
	xzipped
	zstandard
)

// sniff tells the format by the first bytes of an archive, at least sniffLen of them unless it is shorter.
func sniff(head []byte) format {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}): // RFC 1952
		return gzipped
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")): // xz file format, 2.1.1.1
		return xzipped
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878, 3.1.1
		return zstandard
	}
	return plain
}

const sniffLen = 6

// maxWindow is the largest zstd window that is accepted: what zstd -19 --long=27 makes, and the limit of zstd's own
// command line.
const maxWindow = 128 << 20

// Decompress gives the plain archive of r, whatever r is compressed with.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	head, err := br.Peek(sniffLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch sniff(head) {
	case gzipped:
		return gzip.NewReader(br)
	case xzipped:
		x, err := xz.NewReader(br)
		return io.NopCloser(x), err
	case zstandard:
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	default:
		return io.NopCloser(br), nil
	}
}
