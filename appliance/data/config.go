package data

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Defaults of what the configuration leaves open.
const (
	DefaultDevice = "/dev/disk/by-partlabel/masthead-data" // the last partition of an installed head
	DefaultPort   = 7788                                   // of the first volume; the others have the next ones
)

// File systems that a volume can have.
const (
	Btrfs = "btrfs" // the default: it has snapshots
	Ext4  = "ext4"
)

// LVM is the other way to keep states of a volume, beside Btrfs: thin logical volumes beneath it.
const LVM = "lvm"

// Volume is one replicated block device, the file system on it, and the folders that live there.
type Volume struct {
	Name string `yaml:"name" json:"name"`
	// Number is what its block device and its port follow from, from 1 on: the kernels of both heads know it by these for as long
	// as it is there. Left out: its place in the list.
	Number int `yaml:"number,omitempty" json:"number,omitempty"`
	// Device is what holds a head's copy. Left out: the partition masthead-data.
	Device string `yaml:"device,omitempty" json:"device,omitempty"`
	// Devices are those of the heads where it is another one.
	Devices map[string]string `yaml:"devices,omitempty" json:"devices,omitempty"`
	// Size is how much of the device is used: 512M, 20G. Left out: all that both copies have.
	Size       string   `yaml:"size,omitempty" json:"size,omitempty"`
	Filesystem string   `yaml:"filesystem,omitempty" json:"filesystem,omitempty"` // left out: btrfs
	Options    []string `yaml:"options,omitempty" json:"options,omitempty"`       // to mount it with
	// Folders are the places in the file system of the owner whose contents are on the volume: /srv, /var/lib/mysql.
	Folders []string `yaml:"folders,omitempty" json:"folders,omitempty"`
	Port    uint16   `yaml:"port,omitempty" json:"port,omitempty"` // TCP; left out: 7788 and up
	// ResyncRate is the most that a resync may take of the network and the disks: 50M is 50 MiB a second. Left out: 100M.
	ResyncRate string `yaml:"resync_rate,omitempty" json:"resync_rate,omitempty"`
	// SnapshotsBy is what keeps earlier states: btrfs, or lvm beneath the volume. Left out: btrfs where that is the file system.
	SnapshotsBy string     `yaml:"snapshots_by,omitempty" json:"snapshots_by,omitempty"`
	Snapshots   []Schedule `yaml:"snapshots,omitempty" json:"snapshots,omitempty"`
}

// mostVolumes is how many a cluster may have: as many as failover.Volumes has room for.
const mostVolumes = 64

// Problem is one thing in the configuration that cannot be.
type Problem struct {
	Index                int // of the volume
	Field, Value, Reason string
}

func (p *Problem) Error() string {
	return fmt.Sprintf("data[%d].%s %q: %s", p.Index, p.Field, p.Value, p.Reason)
}

var (
	// nameForm: names appear in DRBD's file, in paths and on command lines.
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	sizeForm = regexp.MustCompile(`^[1-9][0-9]{0,9}[KMGT]?$`)
	// optionForm is what mount(2) can take in one word.
	optionForm = regexp.MustCompile(`^[A-Za-z0-9_.=:/%-]+$`)
)

// kept are folders that a volume cannot take the place of: the machine itself lives there.
var kept = []string{"/", "/proc", "/sys", "/dev", "/run", "/boot", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/var", "/tmp", "/var/lib", "/var/lib/masthead"}

// Check gives all that is wrong with the volumes of a cluster.
func Check(volumes []Volume) (all []*Problem) {
	names, folders, ports := map[string]bool{}, map[string]string{}, map[uint16]string{}
	for i, v := range volumes {
		bad := func(field, value, reason string) { all = append(all, &Problem{i, field, value, reason}) }
		switch {
		case !nameForm.MatchString(v.Name):
			bad("name", v.Name, "want lower-case letters, digits and -, 32 at most")
		case names[v.Name]:
			bad("name", v.Name, "is there twice")
		}
		names[v.Name] = true
		for _, head := range slices.Sorted(maps.Keys(v.Devices)) {
			if !filepath.IsAbs(v.Devices[head]) {
				bad("devices."+head, v.Devices[head], "want a path: /dev/vdb")
			}
		}
		if v.Device != "" && !deviceForm.MatchString(v.Device) {
			bad("device", v.Device, "want a path: /dev/vdb")
		}
		if v.Size != "" && !sizeForm.MatchString(v.Size) {
			bad("size", v.Size, "want a number and K, M, G or T")
		}
		if rate := kibi(v.ResyncRate); v.ResyncRate != "" && (!sizeForm.MatchString(v.ResyncRate) || rate == 0 || rate > mostRate) {
			bad("resync_rate", v.ResyncRate, "want a number and K, M or G, a second, and 4G at most")
		}
		if fs := v.filesystem(); fs != Btrfs && fs != Ext4 {
			bad("filesystem", v.Filesystem, "want btrfs or ext4")
		}
		for _, p := range v.snapshotProblems(volumes[:i]) {
			bad(p.Field, p.Value, p.Reason)
		}
		for j, o := range v.Options {
			if !optionForm.MatchString(o) {
				bad(fmt.Sprintf("options[%d]", j), o, "is no option of mount")
			}
		}
		if v.Number < 0 || v.minor(i) >= mostVolumes {
			bad("number", fmt.Sprint(cmp.Or(v.Number, i+1)), fmt.Sprintf("want 1 to %d", mostVolumes))
		}
		for j, other := range volumes[:i] {
			if other.minor(j) == v.minor(i) {
				bad("number", fmt.Sprint(v.minor(i)+1), "is that of volume "+other.Name)
			}
		}
		port := v.port(i)
		if other, ok := ports[port]; ok {
			bad("port", fmt.Sprint(port), "is that of volume "+other)
		}
		ports[port] = v.Name
		for j, f := range v.Folders {
			field := fmt.Sprintf("folders[%d]", j)
			switch {
			case !filepath.IsAbs(f) || filepath.Clean(f) != f || strings.ContainsAny(f, "\n\t\\"):
				bad(field, f, "want a path from the root: /srv")
				continue
			case slices.Contains(kept, f) || under(f, "/run") || under(f, "/proc") || under(f, "/sys") || under(f, "/dev") || under(f, "/var/lib/masthead"):
				bad(field, f, "belongs to the machine itself")
			}
			for other, volume := range folders {
				if f == other || under(f, other) || under(other, f) {
					bad(field, f, "and "+other+" of volume "+volume+" lie in one another")
				}
			}
			folders[f] = v.Name
		}
	}
	return all
}

// snapshotProblems are those of how a volume keeps its states, and of the device beneath it. before are the volumes that stand
// before it in the configuration.
func (v Volume) snapshotProblems(before []Volume) (all []Problem) {
	bad := func(field, value, reason string) {
		all = append(all, Problem{Field: field, Value: value, Reason: reason})
	}
	switch by := v.SnapshotsBy; {
	case by != "" && by != Btrfs && by != LVM:
		bad("snapshots_by", by, "want btrfs or lvm")
	case by == Btrfs && v.filesystem() != Btrfs:
		bad("snapshots_by", by, "needs the file system btrfs")
	}
	for _, prefix := range []string{"snapshot", "pvmove"} { // lvm(8), reserved names
		if v.SnapshotsBy == LVM && strings.HasPrefix(v.Name, prefix) {
			bad("name", v.Name, "LVM keeps names that begin with "+prefix+" for itself")
		}
	}
	for _, other := range before {
		switch {
		case !v.shares(other):
		case v.SnapshotsBy != LVM || other.SnapshotsBy != LVM:
			bad("device", v.Device, "is that of volume "+other.Name+": volumes share one only by snapshots_by: lvm")
		case v.Size == "" || other.Size == "":
			bad("size", v.Size, "wanted of both "+other.Name+" and "+v.Name+", which share a device")
		}
	}
	for j, s := range v.Snapshots {
		if why := s.problem(); why != "" {
			bad(fmt.Sprintf("snapshots[%d]", j), s.Every, why)
		} else if v.snapshotsBy() == "" {
			bad(fmt.Sprintf("snapshots[%d]", j), s.Every, "snapshots need the file system btrfs, or snapshots_by: lvm")
		}
	}
	return all
}

// shares reports whether two volumes have the same device, on whatever head.
func (v Volume) shares(w Volume) bool {
	heads := slices.AppendSeq(slices.Collect(maps.Keys(v.Devices)), maps.Keys(w.Devices))
	return slices.ContainsFunc(append(heads, ""), func(head string) bool { return v.device(head) == w.device(head) })
}

var deviceForm = regexp.MustCompile(`^/[A-Za-z0-9_./:=@+-]+$`)

// under reports whether path lies below folder.
func under(path, folder string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

func (v Volume) filesystem() string {
	if v.Filesystem == "" {
		return Btrfs
	}
	return v.Filesystem
}

// snapshotsBy is what keeps its states; empty: nothing does.
func (v Volume) snapshotsBy() string {
	if v.SnapshotsBy == "" && v.filesystem() == Btrfs {
		return Btrfs
	}
	return v.SnapshotsBy
}

func (v Volume) port(index int) uint16 {
	if v.Port != 0 {
		return v.Port
	}
	return DefaultPort + uint16(v.minor(index))
}

// minor is the number of its device, /dev/drbd0, for the volume at that place in the list.
func (v Volume) minor(index int) int {
	if v.Number > 0 {
		return v.Number - 1
	}
	return index
}

// CheckChange finds what cannot become of volumes that are there: another number or port is that of another volume to the head
// that has not heard of it yet.
func CheckChange(before, after []Volume) (all []*Problem) {
	for i, v := range after {
		j := slices.IndexFunc(before, func(was Volume) bool { return was.Name == v.Name })
		if j < 0 {
			continue
		}
		was := before[j]
		if n := was.minor(j) + 1; v.minor(i)+1 != n {
			all = append(all, &Problem{i, "number", fmt.Sprint(v.minor(i) + 1), fmt.Sprintf("it is volume %d, and stays that while others come and go: number: %[1]d", n)})
		} else if p := was.port(j); v.port(i) != p {
			all = append(all, &Problem{i, "port", fmt.Sprint(v.port(i)), fmt.Sprintf("it has %d: remove the volume, and add it again", p)})
		}
	}
	return all
}

// Removed are the names of volumes that are there before and not after.
func Removed(before, after []Volume) (names []string) {
	for _, was := range before {
		if !slices.ContainsFunc(after, func(v Volume) bool { return v.Name == was.Name }) {
			names = append(names, was.Name)
		}
	}
	return names
}

// device is what holds the copy of a head.
func (v Volume) device(head string) string {
	if d := v.Devices[head]; d != "" {
		return d
	}
	if v.Device != "" {
		return v.Device
	}
	return DefaultDevice
}
