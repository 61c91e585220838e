package qemu

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// Program is the emulator that the command line starts.
const Program = "qemu-system-x86_64"

// Host is what the host gives a machine: sockets to plug into, and files.
type Host struct {
	Accelerator Accelerator
	Pflash      Pflash // for UEFI
	QMP         string // socket
	Console     string // socket
	NICs        []string
	Cables      []string
	Nice        int // 0 to 19: the process gives way to others of the host (nice(1))
}

// CommandLine returns the QEMU command for m, the program first.
func (m Machine) CommandLine(h Host) []string {
	var c command
	if h.Nice > 0 {
		c.add("nice", "-n", strconv.Itoa(h.Nice))
	}
	c.add(Program)
	c.add("-name", "guest="+escape(m.Name))
	c.add("-nodefaults")
	c.add("-no-user-config")
	c.add("-display", "none")
	c.machine(m, h)
	c.add("-m", strconv.Itoa(m.MemoryMB))
	c.add("-smp", strconv.Itoa(m.CPUs))
	c.boot(m)
	c.smbios(m.SMBIOS)
	for _, f := range m.FwCfg {
		if f.File != "" {
			c.add("-fw_cfg", fmt.Sprintf("name=%s,file=%s", escape(f.Name), escape(f.File)))
		} else {
			c.add("-fw_cfg", fmt.Sprintf("name=%s,string=%s", escape(f.Name), escape(f.String)))
		}
	}
	c.chardev("qmp", h.QMP)
	c.add("-mon", "chardev=qmp,mode=control")
	c.chardev("console", h.Console)
	c.add("-serial", "chardev:console")
	for i, path := range h.Cables {
		c.chardev(fmt.Sprintf("cable%d", i), path)
		c.add("-serial", fmt.Sprintf("chardev:cable%d", i))
	}
	// A guest under emulation has no other entropy early on, and TLS waits for it.
	c.add("-object", "rng-random,id=rng,filename=/dev/urandom")
	c.add("-device", "virtio-rng-pci,rng=rng")
	index := bootIndexes(m)
	c.nics(m, h.NICs, index)
	c.disks(m, index)
	if m.Watchdog != "" {
		c.add("-device", "i6300esb")
		c.add("-action", "watchdog="+string(m.Watchdog))
	}
	if m.NoReboot {
		c.add("-no-reboot")
	}
	return c
}

type command []string

func (c *command) add(words ...string) { *c = append(*c, words...) }

func (c *command) machine(m Machine, h Host) {
	// graphics=off makes SeaBIOS, and through it iPXE and ISOLINUX, write to the
	// first serial port; there is no screen to write to.
	machine := "q35,graphics=off,accel=" + string(h.Accelerator)
	if m.Firmware.checksSignatures() {
		machine += ",smm=on"
	}
	c.add("-machine", machine)
	c.add("-cpu", h.Accelerator.cpu())
	if m.Firmware == BIOS {
		return
	}
	if m.Firmware.checksSignatures() { // only SMM code may write the variables
		c.add("-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	c.add("-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(h.Pflash.Code))
	c.add("-drive", "if=pflash,unit=1,format=raw,file="+escape(h.Pflash.Vars))
}

func (c *command) boot(m Machine) {
	if m.Kernel.Image != "" {
		c.add("-kernel", m.Kernel.Image)
		if m.Kernel.Initrd != "" {
			c.add("-initrd", m.Kernel.Initrd)
		}
		if m.Kernel.Append != "" {
			c.add("-append", m.Kernel.Append)
		}
	}
	// strict: nothing without a boot index is tried. SeaBIOS would halt when all
	// have failed; a server in a rack begins again, and so does this one.
	c.add("-boot", "strict=on,menu=off,reboot-timeout=3000")
	if slices.Contains(m.Boot, FromHTTP) {
		// OVMF tries PXE before HTTP on the same card; these two, read by its
		// PlatformPei, leave HTTP alone (edk2 OvmfPkg/README, "Network Support").
		c.add("-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n")
		c.add("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	}
}

func (c *command) smbios(s SMBIOS) {
	var system string
	if s.UUID != "" {
		system += ",uuid=" + escape(s.UUID)
	}
	if s.Serial != "" {
		system += ",serial=" + escape(s.Serial)
	}
	if system != "" {
		c.add("-smbios", "type=1"+system)
	}
	for _, value := range s.OEM {
		c.add("-smbios", "type=11,value="+escape(value))
	}
	for _, path := range s.OEMFiles {
		c.add("-smbios", "type=11,path="+escape(path))
	}
}

func (c *command) chardev(id, path string) {
	c.add("-chardev", fmt.Sprintf("socket,id=%s,path=%s,server=off", id, escape(path)))
}

func (c *command) nics(m Machine, sockets []string, index bootIndex) {
	for i, n := range m.NICs {
		c.add("-netdev", fmt.Sprintf("stream,id=net%d,server=off,addr.type=unix,addr.path=%s", i, escape(sockets[i])))
		device := fmt.Sprintf("%s,id=nic%d,netdev=net%d,mac=%s", n.model(), i, i, n.MAC)
		if file, set := n.rom(m); set {
			device += ",romfile=" + escape(file)
		}
		c.add("-device", device+index.nic(i))
	}
	if len(m.Forwards) == 0 {
		return
	}
	user := "user,id=forward,restrict=on,ipv6=off"
	if m.ReachHost {
		user = "user,id=forward,ipv6=off"
	}
	for _, f := range m.Forwards {
		user += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
	}
	c.add("-netdev", user)
	c.add("-device", "virtio-net-pci,id=forward,netdev=forward,mac="+ForwardMAC(m.Name)+",romfile=")
}

// ForwardMAC is the address of the card that carries a machine's forwarded ports.
// Its card is alone on its network, but an inventory of many machines keeps them
// apart by their addresses. All begin with 52:55:0a.
func ForwardMAC(machine string) string {
	h := fnv.New32a()
	h.Write([]byte(machine))
	sum := h.Sum32()
	return fmt.Sprintf("52:55:0a:%02x:%02x:%02x", byte(sum>>16), byte(sum>>8), byte(sum))
}

func (c *command) disks(m Machine, index bootIndex) {
	if slices.ContainsFunc(m.Disks, func(d Disk) bool { return d.Bus == USB }) {
		c.add("-device", "qemu-xhci,id=usb")
	}
	if slices.ContainsFunc(m.Disks, func(d Disk) bool { return d.Bus == SCSI }) {
		c.add("-device", "virtio-scsi-pci,id=scsi")
	}
	sata := 0
	for i, d := range m.Disks {
		drive := fmt.Sprintf("if=none,id=disk%d,file=%s,format=%s", i, escape(d.Path), d.format())
		if d.format() == rawFormat {
			// Flushes need not reach the host's disk: a killed QEMU leaves what
			// the guest wrote in the host's page cache. (qcow2 has metadata in QEMU.)
			drive += ",cache=unsafe"
		}
		if d.ReadOnly || d.Bus == CDROM {
			drive += ",readonly=on"
		}
		c.add("-drive", drive)
		device := fmt.Sprintf("%s,drive=disk%d", d.device(), i)
		if d.sata() { // QEMU does not look for a free port of q35's controller itself
			device += fmt.Sprintf(",bus=ide.%d", sata)
			sata++
		}
		c.add("-device", device+index.disk(i))
	}
}

// sataPorts is how many q35's controller has.
const sataPorts = 6

func (d Disk) sata() bool { return d.Bus == SATA || d.Bus == CDROM }

func (d Disk) format() string {
	if d.Format == "" {
		return rawFormat
	}
	return d.Format
}

func (d Disk) device() string {
	switch d.Bus {
	case USB:
		return "usb-storage,bus=usb.0"
	case CDROM:
		return "ide-cd"
	case SCSI:
		return "scsi-hd,bus=scsi.0"
	case SATA:
		return "ide-hd"
	}
	return "virtio-blk-pci"
}

func (n NIC) model() string {
	if n.Model == "" {
		return defaultNIC
	}
	return n.Model
}

// rom returns the card's romfile property, if it is to be set.
func (n NIC) rom(m Machine) (file string, set bool) {
	switch {
	case n.ROM == NoROM:
		return "", true
	case n.ROM != "":
		return n.ROM, true
	case !bootsFromNetwork(m):
		return "", true // running the ROM takes a second or two of each start
	case m.Firmware != BIOS && n.model() == defaultNIC:
		// OVMF has a driver of its own for virtio, and no iPXE in the way.
		return "", true
	}
	return "", false
}

// escape writes a value for QEMU's option parser, which ends it at a comma and
// reads two as one.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }
