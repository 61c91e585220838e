package blockdev

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"masthead/images/disk"
)

// ErrNotFound is a partition that no disk has, or not yet.
var ErrNotFound = errors.New("no such partition")

// Table reads the partition table of a disk.
func Table(d Device) (disk.Table, error) {
	f, err := os.Open(d.Path)
	if err != nil {
		return disk.Table{}, err
	}
	defer f.Close()
	t, err := disk.ReadTable(f, d.Size, d.Sector)
	if err != nil {
		return disk.Table{}, fmt.Errorf("%s: %w", d.Path, err)
	}
	return t, nil
}

// ByGUID finds a partition by its GUID, with its disk and the table there. The kernel shows GUIDs in sysfs only since
// 6.10, so the tables are read.
func ByGUID(all []Device, guid string) (part, whole Device, table disk.Table, err error) {
	for _, d := range all {
		if d.Disk != "" || !d.Hardware() {
			continue
		}
		t, err := Table(d)
		if err != nil {
			continue // no table of that kind, or a disk that cannot be read: the partition is elsewhere
		}
		for _, p := range t.Partitions {
			if p.UUID != guid {
				continue
			}
			if part, err := Numbered(all, d, p.Number); err == nil {
				return part, d, t, nil
			}
		}
	}
	return Device{}, Device{}, disk.Table{}, fmt.Errorf("partition %s: %w", guid, ErrNotFound)
}

// Numbered is the partition of a disk with that number.
func Numbered(all []Device, whole Device, number int) (Device, error) {
	i := slices.IndexFunc(all, func(d Device) bool { return d.Disk == whole.Name && d.Partition == number })
	if i < 0 {
		return Device{}, fmt.Errorf("partition %d of %s: %w", number, whole.Path, ErrNotFound)
	}
	return all[i], nil
}

// Named is the partition of a disk with that name (PARTLABEL).
func Named(all []Device, whole Device, table disk.Table, name string) (Device, error) {
	p, ok := table.Find(name)
	if !ok {
		return Device{}, fmt.Errorf("partition %s of %s: %w", name, whole.Path, ErrNotFound)
	}
	return Numbered(all, whole, p.Number)
}

// DiskOf is the disk that a device is a partition of, or the device itself.
func DiskOf(all []Device, path string) (Device, error) {
	i := slices.IndexFunc(all, func(d Device) bool { return d.Path == path })
	if i < 0 {
		return Device{}, fmt.Errorf("%s: %w", path, os.ErrNotExist)
	}
	if all[i].Disk == "" {
		return all[i], nil
	}
	j := slices.IndexFunc(all, func(d Device) bool { return d.Name == all[i].Disk })
	if j < 0 {
		return Device{}, fmt.Errorf("%s, the disk of %s: %w", all[i].Disk, path, os.ErrNotExist)
	}
	return all[j], nil
}
