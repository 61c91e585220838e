package qemu

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Machine is the hardware of one virtual x86-64 machine (QEMU's q35).
type Machine struct {
	Name     string
	MemoryMB int
	CPUs     int
	Firmware Firmware
	Boot     []Source // tried in this order, and no others
	Kernel   Kernel   // if set, loaded by QEMU before any source
	Disks    []Disk
	NICs     []NIC
	Forwards []Forward // ports of the host that lead to the guest, over a card of their own
	// ReachHost lets the guest out by that card: to the host's loopback, which it sees as 10.0.2.2, and further.
	ReachHost bool
	SMBIOS    SMBIOS
	FwCfg     []FwCfg
	Watchdog  WatchdogAction // "" is a machine without a watchdog
	NoReboot  bool           // the process exits where the machine would reboot
}

// Firmware is what the machine starts with.
type Firmware string

const (
	BIOS       Firmware = "bios"       // SeaBIOS
	UEFI       Firmware = "uefi"       // OVMF
	SecureBoot Firmware = "secureboot" // OVMF with Microsoft's keys enrolled
	// OwnKeys is OVMF that knows no key but Debian's test key (/usr/share/ovmf/PkKek-1-snakeoil.key): that of an owner who signs.
	OwnKeys Firmware = "own-keys"
)

// checksSignatures reports whether the firmware starts only what somebody it knows has signed.
func (f Firmware) checksSignatures() bool { return f == SecureBoot || f == OwnKeys }

// Source is a kind of boot device. Of several disks SeaBIOS tries only the first.
type Source string

const (
	FromDisk    Source = "disk"
	FromCD      Source = "cd"
	FromNetwork Source = "network"   // PXE
	FromHTTP    Source = "uefi-http" // UEFI HTTP boot, with PXE turned off
)

// Kernel is a Linux kernel that QEMU itself loads.
type Kernel struct {
	Image  string
	Initrd string
	Append string
}

// Bus is how a disk is connected.
type Bus string

const (
	Virtio Bus = "virtio"
	USB    Bus = "usb"
	CDROM  Bus = "cdrom" // a SATA CD drive
	SCSI   Bus = "scsi"  // virtio-scsi
	SATA   Bus = "sata"
)

// Disk is an image file on a bus.
type Disk struct {
	Path     string
	Format   string // raw or qcow2; "" is raw
	Bus      Bus    // "" is virtio
	ReadOnly bool
}

// NIC is a network card on a switch.
type NIC struct {
	MAC   string
	Model string // QEMU's device; "" is virtio-net-pci
	ROM   string // boot ROM file; "" is the usual one, "none" none
}

// NoROM as a card's ROM leaves booting to the firmware's own drivers.
const NoROM = "none"

// Forward leads from a TCP port on the host's loopback to one of the guest.
type Forward struct {
	Host, Guest int
}

// SMBIOS is what the guest reads from its firmware tables.
type SMBIOS struct {
	UUID     string   // type 1
	Serial   string   // type 1
	OEM      []string // type 11, one string each
	OEMFiles []string // type 11, the content of each file a string
}

// FwCfg is a named blob for firmware and guest, from a string or a file.
type FwCfg struct {
	Name   string
	String string
	File   string
}

// WatchdogAction is what becomes of a machine whose Intel 6300ESB watchdog expires.
type WatchdogAction string

const (
	WatchdogReset    WatchdogAction = "reset"
	WatchdogPowerOff WatchdogAction = "poweroff"
	WatchdogPause    WatchdogAction = "pause"
	WatchdogReport   WatchdogAction = "none" // only the QMP event
)

const (
	defaultNIC = "virtio-net-pci"
	rawFormat  = "raw"
)

// FieldError is one thing wrong with one field of a description.
type FieldError struct {
	Field  string // memory, nics[0].mac, …
	Reason string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// Validate returns all that is wrong with m: *FieldErrors, joined.
func (m Machine) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &FieldError{field, fmt.Sprintf(format, args...)})
	}
	if m.Name == "" || strings.ContainsAny(m.Name, "/\x00") || strings.HasPrefix(m.Name, ".") {
		bad("name", "%q is no name for a machine and its folder", m.Name)
	}
	if m.MemoryMB < 32 {
		bad("memory", "%d MiB: want 32 or more", m.MemoryMB)
	}
	if m.CPUs < 1 || m.CPUs > 255 {
		bad("cpus", "%d: want 1 to 255", m.CPUs)
	}
	if err := oneOf(m.Firmware, BIOS, UEFI, SecureBoot, OwnKeys); err != nil {
		bad("firmware", "%v", err)
	}
	for i, s := range m.Boot {
		field := fmt.Sprintf("boot[%d]", i)
		if err := oneOf(s, FromDisk, FromCD, FromNetwork, FromHTTP); err != nil {
			bad(field, "%v", err)
		}
		if s == FromHTTP && m.Firmware == BIOS {
			bad(field, "%s needs firmware uefi", FromHTTP)
		}
		if slices.Contains(m.Boot[:i], s) {
			bad(field, "%q twice", s)
		}
	}
	if slices.Contains(m.Boot, FromHTTP) && slices.Contains(m.Boot, FromNetwork) {
		bad("boot", "%s and %s exclude each other: the firmware tries PXE first where it can", FromHTTP, FromNetwork)
	}
	sata := 0
	for i, d := range m.Disks {
		field := fmt.Sprintf("disks[%d]", i)
		if d.sata() {
			if sata++; sata == sataPorts+1 {
				bad(field+".bus", "more than %d on SATA, with the CD drives", sataPorts)
			}
		}
		if d.Bus == SATA && d.ReadOnly {
			bad(field+".readonly", "QEMU has no read-only SATA disks: use another bus")
		}
		if d.Path == "" {
			bad(field+".path", "is missing")
		}
		if err := oneOf(d.Format, "", rawFormat, "qcow2"); err != nil {
			bad(field+".format", "%v", err)
		}
		if err := oneOf(d.Bus, "", Virtio, USB, CDROM, SCSI, SATA); err != nil {
			bad(field+".bus", "%v", err)
		}
	}
	seen := make(map[string]bool)
	for i, n := range m.NICs {
		mac, err := net.ParseMAC(n.MAC)
		switch {
		case err != nil || len(mac) != 6:
			bad(fmt.Sprintf("nics[%d].mac", i), "%q is no Ethernet address", n.MAC)
		case mac[0]&1 != 0:
			bad(fmt.Sprintf("nics[%d].mac", i), "%s is a group address", n.MAC)
		case seen[mac.String()]:
			bad(fmt.Sprintf("nics[%d].mac", i), "%s twice", n.MAC)
		}
		seen[mac.String()] = true
	}
	for i, f := range m.Forwards {
		if f.Host < 1 || f.Host > 65535 || f.Guest < 1 || f.Guest > 65535 {
			bad(fmt.Sprintf("forwards[%d]", i), "%d to %d: want ports 1 to 65535", f.Host, f.Guest)
		}
	}
	if err := oneOf(m.Watchdog, "", WatchdogReset, WatchdogPowerOff, WatchdogPause, WatchdogReport); err != nil {
		bad("watchdog", "%v", err)
	}
	return errors.Join(errs...)
}

func oneOf[S ~string](got S, want ...S) error {
	if slices.Contains(want, got) {
		return nil
	}
	var names []string
	for _, w := range want {
		if w != "" {
			names = append(names, string(w))
		}
	}
	return fmt.Errorf("%q: want one of %s", got, strings.Join(names, ", "))
}
