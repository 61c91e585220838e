// Package uki assembles unified kernel images: one UEFI program that carries
// kernel, initramfs and command line as sections behind the systemd stub, which
// finds them in memory and starts the kernel (systemd-stub(7), the UAPI group's
// Unified Kernel Image specification).
//
// The image is planned from the sizes alone and then read as a stream, so that
// kernel and initramfs are never held in memory. Nothing in it depends on the
// time or the place of the build. Signing for Secure Boot is not done here.
package uki

import (
	"errors"
	"fmt"
	"io"
)

// Source is a blob of known size that can be opened again and again.
type Source struct {
	Size int64 // bytes
	Open func() (io.ReadCloser, error)
}

// Image is what goes into a unified kernel image.
type Image struct {
	Stub      []byte // linuxx64.efi.stub of systemd 252 or newer
	OSRelease string // text of os-release, shown by boot managers; may be empty
	Cmdline   string // kernel command line, printable ASCII
	Uname     string // kernel release as of `uname -r`; may be empty
	Kernel    Source // bzImage with an EFI stub
	Initramfs Source
}

// maxCmdline is COMMAND_LINE_SIZE of x86 less the terminating zero
// (arch/x86/include/asm/setup.h).
const maxCmdline = 2047

func (img Image) validate() error {
	var errs []error
	if len(img.Cmdline) > maxCmdline {
		errs = append(errs, fmt.Errorf("command line has %d bytes, the kernel takes %d", len(img.Cmdline), maxCmdline))
	}
	for i := range len(img.Cmdline) {
		if c := img.Cmdline[i]; c < ' ' || c > '~' {
			errs = append(errs, fmt.Errorf("command line has byte %#02x at %d: only printable ASCII is passed on", c, i))
			break
		}
	}
	for _, s := range []struct {
		name string
		src  Source
	}{{"kernel", img.Kernel}, {"initramfs", img.Initramfs}} {
		switch {
		case s.src.Open == nil:
			errs = append(errs, fmt.Errorf("%s is missing", s.name))
		case s.src.Size <= 0:
			errs = append(errs, fmt.Errorf("%s is empty", s.name))
		}
	}
	return errors.Join(errs...)
}
