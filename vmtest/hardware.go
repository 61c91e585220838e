package vmtest

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"masthead/vmtest/qemu"
)

// hardware is m for QEMU, with blank disks in folder and without forwarded ports.
func (m MachineConfig) hardware(name, folder string) qemu.Machine {
	q := qemu.Machine{
		Name:     name,
		MemoryMB: m.Memory,
		CPUs:     m.CPUs,
		Firmware: m.Firmware,
		Boot:     m.Boot,
		Kernel:   qemu.Kernel(m.Kernel),
		SMBIOS:   qemu.SMBIOS{UUID: m.UUID, Serial: name, OEM: m.OEM, OEMFiles: m.OEMFiles},
		Watchdog: m.Watchdog,
		NoReboot: m.NoReboot,
	}
	for i, d := range m.Disks {
		path := d.Path
		if path == "" {
			path = blankPath(folder, i)
		}
		q.Disks = append(q.Disks, qemu.Disk{Path: path, Format: d.Format, Bus: d.Bus, ReadOnly: d.ReadOnly})
	}
	if m.ISO != "" { // last, so that disk0 is disks[0]
		q.Disks = append(q.Disks, qemu.Disk{Path: m.ISO, Bus: qemu.CDROM})
	}
	for _, n := range m.NICs {
		q.NICs = append(q.NICs, qemu.NIC{MAC: n.MAC, Model: n.Model, ROM: n.ROM})
	}
	for _, key := range slices.Sorted(maps.Keys(m.FwCfg)) {
		q.FwCfg = append(q.FwCfg, qemu.FwCfg{Name: key, String: m.FwCfg[key]})
	}
	return q
}

func blankPath(folder string, disk int) string {
	return filepath.Join(folder, fmt.Sprintf("disk%d.raw", disk))
}
