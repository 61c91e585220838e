package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// imageHeader is what is read of a kernel image: the x86 boot sector and setup code, which hold the version string.
const imageHeader = 64 << 10

// ImageRelease reads the release (uname -r) out of an x86 kernel image (bzImage), as Documentation/arch/x86/boot.rst
// describes its setup header: at 0x202 "HdrS", at 0x20E a pointer, counted from 0x200, to the version string.
func ImageRelease(r io.Reader) (string, error) {
	head, err := io.ReadAll(io.LimitReader(r, imageHeader))
	if err != nil {
		return "", fmt.Errorf("kernel image: %w", err)
	}
	if len(head) < 0x210 || string(head[0x202:0x206]) != "HdrS" {
		return "", errors.New("kernel image: not an x86 bzImage")
	}
	at := 0x200 + int(binary.LittleEndian.Uint16(head[0x20e:]))
	if at == 0x200 || at >= len(head) {
		return "", errors.New("kernel image: it does not say its version")
	}
	text, _, ok := strings.Cut(string(head[at:]), "\x00")
	release, _, _ := strings.Cut(text, " ") // "6.12.1 (builder@host) #1 SMP …"
	if !ok || release == "" || strings.ContainsAny(release, "/\n") {
		return "", errors.New("kernel image: it does not say its version")
	}
	return release, nil
}
