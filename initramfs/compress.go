package initramfs

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// windowSize is the memory that the kernel needs beside the archive to unpack it (lib/decompress_unzstd.c allocates the
// window). 32 MiB would save 0.2 % and cost that much of a machine with 256 MB.
const windowSize = 8 << 20

// Compress writes one archive as one zstd frame, which kernels with CONFIG_RD_ZSTD unpack. Frames written one after
// another make a valid initramfs, and a later one adds to the earlier (init/initramfs.c unpack_to_rootfs).
func Compress(w io.Writer, entries []Entry) error {
	zw, err := zstd.NewWriter(w,
		zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(windowSize),
		zstd.WithEncoderConcurrency(1)) // frames are what is done in parallel; see Build
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := Write(zw, entries); err != nil {
		zw.Close()
		return err
	}
	if err := zw.Close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return nil
}
