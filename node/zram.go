package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The swap header of include/linux/swap.h, union swap_header: version, last page and number of bad pages at byte 1024
// of the first page, the signature at its end.
const (
	swapSignature = "SWAPSPACE2"
	swapInfoAt    = 1024
	swapVersion   = 1
)

// zramSwap makes a compressed swap device in memory, into which the overlay's tmpfs (and everything else that is not
// locked) can be pushed: what is written to the root then takes about a third of its size. A file system on zram would
// need a mkfs in the initramfs, and would compress the overlay alone.
func (in *Init) zramSwap(ctx context.Context) error {
	if err := in.loader.Load(ctx, "zram", ""); err != nil {
		return err
	}
	const dev, sys = "/dev/zram0", "/sys/block/zram0/"
	// As large as memory: at the usual ratio it fills a third of it.
	size := memoryMB("/proc") << 20
	_ = os.WriteFile(sys+"comp_algorithm", []byte("zstd"), 0o644) // a kernel without zstd keeps its default
	if err := os.WriteFile(sys+"disksize", fmt.Appendf(nil, "%d", size), 0o644); err != nil {
		return fmt.Errorf("size %s: %w", dev, err)
	}
	f, err := os.OpenFile(dev, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(swapHeader(size, os.Getpagesize()), 0)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write the swap header to %s: %w", dev, err)
	}
	path, err := unix.BytePtrFromString(dev)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		return fmt.Errorf("swap on %s: %w", dev, errno)
	}
	return nil
}

// swapHeader is the first page of a swap area of size bytes.
func swapHeader(size int64, page int) []byte {
	h := make([]byte, page)
	binary.LittleEndian.PutUint32(h[swapInfoAt:], swapVersion)
	binary.LittleEndian.PutUint32(h[swapInfoAt+4:], uint32(size/int64(page)-1))
	copy(h[page-len(swapSignature):], swapSignature)
	return h
}
