package slot

import (
	"errors"
	"fmt"
	"os"

	"masthead/images"
	"masthead/images/disk"
	"masthead/node/blockdev"
)

// Machine is an installed machine: the slot that it runs from, and where the rest of its disk is.
type Machine struct {
	Running disk.Slot
	Disk    blockdev.Device
	Table   disk.Table
	ESP     string // devices
	State   string
	parts   []blockdev.Device
}

// ErrNotInstalled is a machine that was started from an ISO or from the network.
var ErrNotInstalled = errors.New("this machine does not run from an installed disk")

// Find finds the disk by the command line of the kernel that runs.
func Find(sys, proc, dev string) (Machine, error) {
	cmdline, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return Machine{}, fmt.Errorf("find the slots: %w", err)
	}
	boot, _ := images.ParseBoot(string(cmdline)) // what makes no sense was said at boot
	return find(sys, dev, boot)
}

func find(sys, dev string, boot images.Boot) (Machine, error) {
	if boot.Slot == "" || boot.Medium == "" {
		return Machine{}, ErrNotInstalled
	}
	all, err := blockdev.List(sys, dev)
	if err != nil {
		return Machine{}, fmt.Errorf("find the slots: %w", err)
	}
	_, whole, table, err := blockdev.ByGUID(all, boot.Medium)
	if err != nil {
		return Machine{}, fmt.Errorf("find the slots: %w", err)
	}
	return At(all, whole, table, disk.Slot(boot.Slot))
}

// At is the machine whose slots are on that disk.
func At(all []blockdev.Device, whole blockdev.Device, table disk.Table, running disk.Slot) (Machine, error) {
	m := Machine{Running: running, Disk: whole, Table: table, parts: all}
	esp, err := blockdev.Named(all, whole, table, disk.NameESP)
	if err != nil {
		return Machine{}, fmt.Errorf("find the slots: %w", err)
	}
	state, err := blockdev.Named(all, whole, table, disk.NameState)
	if err != nil {
		return Machine{}, fmt.Errorf("find the slots: %w", err)
	}
	m.ESP, m.State = esp.Path, state.Path
	return m, nil
}

// Slot is the partition of a slot.
func (m Machine) Slot(s disk.Slot) (blockdev.Device, error) {
	return blockdev.Named(m.parts, m.Disk, m.Table, s.PartitionName())
}

// Environment is GRUB's block on this machine's disk.
func (m Machine) Environment() Environment { return Environment{ESP: m.ESP} }
