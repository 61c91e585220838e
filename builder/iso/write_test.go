package iso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWriteReportsSourceFaults(t *testing.T) {
	broken := errors.New("disk on fire")
	open := func(r io.Reader) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(r), nil }
	}
	tests := []struct {
		name string
		file File
		want string
	}{
		{"not openable", File{Path: "x", Size: 1, Open: func() (io.ReadCloser, error) { return nil, broken }}, "file x: disk on fire"},
		{"not readable", File{Path: "x", Size: 1, Open: open(iotest.ErrReader(broken))}, "file x: disk on fire"},
		{"short", File{Path: "x", Size: 10, Open: open(strings.NewReader("123"))}, "file x: ended after 3 bytes, want 10"},
		{"empty", File{Path: "x", Size: 10, Open: open(strings.NewReader(""))}, "file x: ended after 0 bytes, want 10"},
		{"short by whole chunks", File{Path: "x", Size: 3 * chunk, Open: open(bytes.NewReader(make([]byte, 2*chunk)))}, "ended after 2097152 bytes"},
		{"long", File{Path: "x", Size: 2, Open: open(strings.NewReader("123"))}, "file x: has more than 2 bytes"},
		{"cut off inside", File{Path: "x", Size: 10, Open: open(io.MultiReader(strings.NewReader("1"), iotest.ErrReader(fmt.Errorf("section .linux: %w", io.ErrUnexpectedEOF))))}, "file x: section .linux: unexpected EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img := sample()
			img.Files = append(img.Files, tt.file)
			_, err := Write(context.Background(), io.Discard, img)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// Files on disk take the way through the kernel; it must count the same.
func TestWriteReportsChangedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pack")
	if err := os.WriteFile(path, make([]byte, chunk+5), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		size int64
		want string
	}{
		{chunk + 4, "has more than 1048580 bytes"},
		{chunk + 5, ""},
		{chunk + 6, "ended after 1048581 bytes, want 1048582"},
	} {
		w, err := os.Create(filepath.Join(t.TempDir(), "iso"))
		if err != nil {
			t.Fatal(err)
		}
		img := sample()
		img.Files = append(img.Files, File{Path: "x", Size: tt.size, Open: func() (io.ReadCloser, error) { return os.Open(path) }})
		_, err = Write(context.Background(), w, img)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("size %d: got error %v, want %q", tt.size, err, tt.want)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("enough")
	img := sample()
	img.Files = append(img.Files, File{Path: "x", Size: 100 * chunk, Open: func() (io.ReadCloser, error) {
		cancel(stop)
		return io.NopCloser(zeroReader{}), nil
	}})
	if _, err := Write(ctx, io.Discard, img); !errors.Is(err, stop) {
		t.Errorf("got error %v, want %v", err, stop)
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWriteReportsFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	if _, err := Write(context.Background(), full, sample()); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got error %v, want no space left", err)
	}
}

// Every source is closed once, also when it fails half way.
func TestWriteClosesSources(t *testing.T) {
	for _, size := range []int64{3, 4} {
		open := 0
		img := sample()
		img.Files = append(img.Files, File{Path: "x", Size: size, Open: func() (io.ReadCloser, error) {
			open++
			return counted{strings.NewReader("123"), &open}, nil
		}})
		_, err := Write(context.Background(), io.Discard, img)
		if (err != nil) != (size == 4) {
			t.Errorf("size %d: error %v", size, err)
		}
		if open != 0 {
			t.Errorf("size %d: %d sources open", size, open)
		}
	}
}

type counted struct {
	io.Reader
	open *int
}

func (c counted) Close() error { *c.open--; return nil }
