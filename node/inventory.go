package node

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/u-root/u-root/pkg/smbios"
	"golang.org/x/sys/unix"

	"masthead/node/wire"
)

// inventory describes the machine from sysfs, procfs and SMBIOS. What cannot be read is left out: a machine without
// SMBIOS still boots.
func inventory(sys, proc string, info *smbios.Info) wire.Inventory {
	inv := wire.Inventory{Firmware: "bios"}
	if _, err := os.Stat(filepath.Join(sys, "firmware/efi")); err == nil {
		inv.Firmware = "uefi"
		inv.SecureBoot = secureBoot(sys)
	}
	if info != nil {
		if si, err := info.GetSystemInfo(); err == nil {
			inv.Vendor, inv.Product, inv.Serial = clean(si.Manufacturer), clean(si.ProductName), clean(si.SerialNumber)
			inv.UUID = si.UUID.String()
		}
	}
	inv.MACs = physicalMACs(sys)
	inv.Disks = disks(sys)
	inv.CPU, inv.CPUs = processors(proc)
	inv.MemoryMB = memoryMB(proc)
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		inv.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return inv
}

// secureBoot is what the kernel's EFI stub found (Documentation/arch/x86/zero-page.rst, secure_boot at 0x1ec;
// include/linux/efi.h, enum efi_secureboot_mode). It is there before any file system of variables is mounted.
func secureBoot(sys string) string {
	data, err := os.ReadFile(filepath.Join(sys, "kernel/boot_params/data"))
	if err != nil || len(data) <= 0x1ec {
		return ""
	}
	switch data[0x1ec] {
	case 2:
		return wire.SecureBootOff
	case 3:
		return wire.SecureBootOn
	}
	return ""
}

// clean drops what firmware vendors put where they have nothing to say.
func clean(s string) string {
	switch s = strings.TrimSpace(s); s {
	case "Not Specified", "To Be Filled By O.E.M.", "Default string", "None":
		return ""
	}
	return s
}

// physicalMACs lists the addresses of the NICs that are devices, not bridges or loopbacks.
func physicalMACs(sys string) []string {
	var macs []string
	nics, _ := filepath.Glob(filepath.Join(sys, "class/net/*/device"))
	for _, dev := range nics {
		if mac := line(filepath.Join(filepath.Dir(dev), "address")); mac != "" {
			macs = append(macs, mac)
		}
	}
	return macs
}

// disks lists the block devices that are hardware.
func disks(sys string) []wire.Disk {
	var all []wire.Disk
	devs, _ := filepath.Glob(filepath.Join(sys, "block/*/device"))
	for _, dev := range devs {
		dir := filepath.Dir(dev)
		sectors, err := strconv.ParseInt(line(filepath.Join(dir, "size")), 10, 64)
		if err != nil || sectors == 0 {
			continue
		}
		// sysfs counts 512-byte sectors whatever the device's block size (include/linux/types.h, sector_t).
		all = append(all, wire.Disk{Name: filepath.Base(dir), Bytes: sectors * 512, Model: line(filepath.Join(dev, "model"))})
	}
	return all
}

func processors(proc string) (model string, n int) {
	f, err := os.Open(filepath.Join(proc, "cpuinfo"))
	if err != nil {
		return "", 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		key, value, _ := strings.Cut(sc.Text(), ":")
		switch strings.TrimSpace(key) {
		case "processor":
			n++
		case "model name":
			model = strings.TrimSpace(value)
		}
	}
	return model, n
}

func memoryMB(proc string) int64 { return meminfoMB(proc, "MemTotal:") }

// meminfoMB is one line of /proc/meminfo, in MiB; 0 where it is not known.
func meminfoMB(proc, line string) int64 {
	f, err := os.Open(filepath.Join(proc, "meminfo"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), line); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb / 1024
		}
	}
	return 0
}

// line is the first line of a small file, trimmed; empty where there is none.
func line(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(first)
}

// Inventory describes the machine that runs, whoever started it.
func Inventory() wire.Inventory {
	info, err := smbios.FromSysfs()
	if err != nil {
		info = nil // a machine without SMBIOS
	}
	return inventory("/sys", "/proc", info)
}
