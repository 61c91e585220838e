package login

import (
	"io"
	"strings"
	"testing"
)

// What Kexec sends (TestProgram has its bytes) arrives, and what is cut off is an error.
func TestReadKexec(t *testing.T) {
	const order = `{"kernel":6,"initramfs":5,"cmdline":"masthead.role=worker"}` + "\n"
	kernel, ramfs, cmdline, err := ReadKexec(strings.NewReader(order + "KERNELRAMFS"))
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	defer ramfs.Close()
	k := string(must1(io.ReadAll(io.NewSectionReader(kernel, 0, 100))))
	r := string(must1(io.ReadAll(io.NewSectionReader(ramfs, 0, 100))))
	if k != "KERNEL" || r != "RAMFS" || cmdline != "masthead.role=worker" {
		t.Errorf("%q, %q, %q", k, r, cmdline)
	}
	for text, want := range map[string]string{
		"":                  "read what is to be started: EOF",
		"KERNEL\n":          "read what is to be started: invalid character",
		order + "KER":       "receive vmlinuz of 6 bytes: EOF",
		order + "KERNELRAM": "receive initramfs of 5 bytes: EOF",
	} {
		if _, _, _, err := ReadKexec(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
