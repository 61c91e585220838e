package install

import (
	"fmt"
	"os"
	"strings"

	"masthead/node/blockdev"
)

// Disk is one disk that could be installed on, and what is on it.
type Disk struct {
	blockdev.Device
	Found   []blockdev.Signature `json:"found,omitempty"` // on the disk itself
	Parts   []string             `json:"parts,omitempty"` // "sda1 ext4 root, 20 GiB"
	Uses    []string             `json:"uses,omitempty"`  // of it or of a part of it, now
	Medium  bool                 `json:"medium,omitempty"`
	Journal *Journal             `json:"journal,omitempty"` // of an installation that was begun on it
}

// Blank reports whether nothing is on it.
func (d Disk) Blank() bool { return len(d.Found) == 0 && len(d.Parts) == 0 && len(d.Uses) == 0 }

// Holds is what is on it, in words.
func (d Disk) Holds() string {
	if d.Blank() {
		return "blank"
	}
	var words []string
	if d.Medium {
		words = append(words, "this machine was started from it")
	}
	for _, f := range d.Found {
		words = append(words, f.String())
	}
	words = append(words, d.Parts...)
	words = append(words, d.Uses...)
	return strings.Join(words, "; ")
}

// Named is the serial number of a disk, or what is typed in its place where it has none.
func (d Disk) Named() string {
	if d.Serial == "" {
		return "no serial: type " + d.Name
	}
	return "serial " + d.Serial
}

// Look finds the disks of this machine. medium is the device that it was started from.
func Look(sys, proc, dev, medium string) ([]Disk, error) {
	all, err := blockdev.List(sys, dev)
	if err != nil {
		return nil, err
	}
	uses, err := blockdev.ReadUses(proc, all)
	if err != nil {
		return nil, err
	}
	source := ""
	if medium != "" {
		if whole, err := blockdev.DiskOf(all, medium); err == nil {
			source = whole.Name
		}
	}
	var disks []Disk
	for _, d := range all {
		if d.Disk != "" || !d.Hardware() || strings.HasPrefix(d.Name, "sr") {
			continue
		}
		disk := Disk{Device: d, Uses: uses[d.Number], Medium: d.Name == source}
		if disk.Found, disk.Journal, err = lookAt(d); err != nil {
			// A disk that cannot be read is not blank.
			disk.Found = []blockdev.Signature{{Kind: "unreadable", Label: err.Error()}}
		}
		for _, p := range all {
			if p.Disk == d.Name {
				disk.addPart(p, uses[p.Number])
			}
		}
		disks = append(disks, disk)
	}
	return disks, nil
}

func lookAt(d blockdev.Device) ([]blockdev.Signature, *Journal, error) {
	f, err := os.Open(d.Path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	found, err := blockdev.Probe(f, d.Size)
	if err != nil {
		return nil, nil, err
	}
	j, ok := ReadJournal(f)
	if !ok {
		return found, nil, nil
	}
	return found, &j, nil
}

func (d *Disk) addPart(p blockdev.Device, uses []string) {
	found, err := blockdev.ProbeDevice(p.Path)
	what := blockdev.Describe(found)
	if err != nil {
		what = "unreadable"
	}
	text := fmt.Sprintf("%s %s, %s", p.Name, what, Size(p.Size))
	d.Parts = append(d.Parts, text)
	for _, u := range uses {
		d.Uses = append(d.Uses, p.Name+" "+u)
	}
}

// Size is a size for people, in powers of 1024.
func Size(n int64) string {
	switch {
	case n >= 1<<40:
		return fmt.Sprintf("%.1f TiB", float64(n)/(1<<40))
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
}
