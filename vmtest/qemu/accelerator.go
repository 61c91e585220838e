package qemu

import (
	"bufio"
	"bytes"
	"os"
	"slices"
)

// Accelerator is how QEMU runs the guest's instructions.
type Accelerator string

const (
	TCG Accelerator = "tcg" // emulation
	KVM Accelerator = "kvm"
)

func (a Accelerator) cpu() string {
	if a == KVM {
		return "host"
	}
	return emulated
}

// emulated is the processor of TCG: all that it can do, but for CMPXCHG16B. Each allocation of Linux's kernel uses that, and
// QEMU 7.2 now and then delivers an interrupt behind it with flags that nobody has set: the guest dies of a double fault, with
// a part of RAX in its EFLAGS. Without it Linux disables interrupts for that moment (mm/slub.c, this_cpu_cmpxchg16b_emu).
// Nor has it the instructions for AES and GCM: each is a call of the emulator, and without them Go's TLS agrees on ChaCha20-Poly1305,
// which is 2.5 times as fast here.
const emulated = "max,cx16=off,aes=off,pclmulqdq=off"

// HostAccelerator returns KVM where it works. A /dev/kvm is not enough: in nested
// machines without vmx or svm it can be there and hang every guest.
func HostAccelerator() Accelerator {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !virtualizes(cpuinfo) {
		return TCG
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG
	}
	kvm.Close()
	return KVM
}

// virtualizes reports whether /proc/cpuinfo shows Intel's or AMD's virtualization.
func virtualizes(cpuinfo []byte) bool {
	lines := bufio.NewScanner(bytes.NewReader(cpuinfo))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, flags, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		if string(bytes.TrimSpace(name)) == "flags" {
			return slices.ContainsFunc(bytes.Fields(flags), func(flag []byte) bool {
				return string(flag) == "vmx" || string(flag) == "svm"
			})
		}
	}
	return false
}
