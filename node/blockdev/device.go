package blockdev

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Device is a disk or a partition of one.
type Device struct {
	Name      string   `json:"name"` // of the kernel: sda, nvme0n1p2
	Path      string   `json:"path"` // /dev/sda
	Number    string   `json:"-"`    // MAJOR:MINOR
	Size      int64    `json:"size"` // bytes
	Sector    int      `json:"sector"`
	ReadOnly  bool     `json:"read_only,omitempty"`
	Removable bool     `json:"removable,omitempty"`
	Model     string   `json:"model,omitempty"`
	Serial    string   `json:"serial,omitempty"`
	Disk      string   `json:"disk,omitempty"`    // of a partition: the name of its disk
	Partition int      `json:"-"`                 // its number
	Holders   []string `json:"holders,omitempty"` // devices that are made of this one: dm-0, md0, drbd0
}

// ID is what a person types to say that this disk is meant: its serial number, or its name where it has none.
func (d Device) ID() string { return cmp.Or(d.Serial, d.Name) }

// virtual are the devices that are no hardware.
var virtual = []string{"loop", "ram", "nbd", "zram", "dm-", "md", "drbd", "fd"}

// Hardware reports whether this is a disk that could be written to, or a partition of one.
func (d Device) Hardware() bool {
	return !slices.ContainsFunc(virtual, func(prefix string) bool { return strings.HasPrefix(d.Name, prefix) })
}

// List gives all disks and partitions that the kernel shows, sorted by name. A disk without a medium has no size, and is
// left out.
func List(sys, dev string) ([]Device, error) {
	entries, err := os.ReadDir(filepath.Join(sys, "class/block"))
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	var all []Device
	for _, e := range entries {
		d, err := read(filepath.Join(sys, "class/block", e.Name()), dev)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list block devices: %s: %w", e.Name(), err)
		}
		if d.Size > 0 {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Device) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// read is one device, by its folder in sysfs (Documentation/ABI/stable/sysfs-block).
func read(dir, dev string) (Device, error) {
	d := Device{Name: filepath.Base(dir), Path: filepath.Join(dev, filepath.Base(dir))}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return d, err
	}
	sectors, err := strconv.ParseInt(text(dir, "size"), 10, 64)
	if err != nil {
		return d, err
	}
	d.Size = sectors * 512 // whatever the device's own sectors are
	d.Number = text(dir, "dev")
	d.ReadOnly = text(dir, "ro") == "1"
	disk := real
	if n := text(dir, "partition"); n != "" {
		if d.Partition, err = strconv.Atoi(n); err != nil {
			return d, err
		}
		disk = filepath.Dir(real)
		d.Disk = filepath.Base(disk)
	}
	d.Sector, _ = strconv.Atoi(text(disk, "queue/logical_block_size"))
	d.Sector = cmp.Or(d.Sector, 512)
	d.Removable = text(disk, "removable") == "1"
	d.Model = cmp.Or(text(disk, "device/model"), text(disk, "device/name"))
	d.Serial = serial(disk)
	holders, err := os.ReadDir(filepath.Join(dir, "holders"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	for _, h := range holders {
		d.Holders = append(d.Holders, h.Name())
	}
	return d, nil
}

// serial finds the serial number: virtio has it on the disk, NVMe and eMMC on the device, SCSI and SATA in a page of vital
// product data (SPC-4, 7.8.15), after four bytes.
func serial(disk string) string {
	for _, file := range []string{"serial", "device/serial"} {
		if s := text(disk, file); s != "" {
			return s
		}
	}
	if page, err := os.ReadFile(filepath.Join(disk, "device/vpd_pg80")); err == nil && len(page) > 4 {
		if s := printable(string(page[4:])); s != "" {
			return s
		}
	}
	words := strings.Fields(text(disk, "device/wwid")) // t10.ATA MODEL SERIAL, naa.5000…
	if len(words) > 0 {
		return words[len(words)-1]
	}
	return ""
}

// text is what a file of sysfs says; empty where there is no such file.
func text(dir, file string) string {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return printable(string(data))
}

// printable is a text of a device as one can show it on a terminal and have it typed.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s))
}
