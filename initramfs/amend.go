package initramfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"masthead/images"
)

// maxBaked bounds what a build wrote: a few names and the administrators' keys.
const maxBaked = 1 << 20

// ReadBaked finds in an initramfs that Build wrote what the build told init.
func ReadBaked(r io.Reader) (images.Baked, error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowSize))
	if err != nil {
		return images.Baked{}, fmt.Errorf("read initramfs: %w", err)
	}
	defer dec.Close()
	archive := cpio.NewReader(dec)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			err = errors.New(images.InitramfsConfig + " is not in it")
		}
		if err != nil {
			return images.Baked{}, fmt.Errorf("read initramfs: %w", err)
		}
		if h.Name != inside(images.InitramfsConfig) {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(archive, maxBaked))
		var b images.Baked
		if err == nil {
			err = json.Unmarshal(data, &b)
		}
		if err != nil {
			return images.Baked{}, fmt.Errorf("read initramfs: %s: %w", images.InitramfsConfig, err)
		}
		return b, nil
	}
}

// Amend gives the initramfs base with another word to init: one more archive behind those that are there, whose files the
// kernel unpacks over the earlier ones (init/initramfs.c, unpack_to_rootfs). Modules and firmware stay as they are, which
// is what makes it fast: reading thousands of modules takes minutes.
func Amend(w io.Writer, base io.Reader, b images.Baked) error {
	entry, err := bakedEntry(b)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, base); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return Compress(w, []Entry{entry}) // its folders are there
}

func bakedEntry(b images.Baked) (Entry, error) {
	config, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return Entry{}, fmt.Errorf("initramfs: %w", err)
	}
	return Bytes(inside(images.InitramfsConfig), 0o644, append(config, '\n')), nil
}
