package data

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Group is a volume group on the device of a head, as LVM reports it.
type Group struct {
	Name    string
	Tags    []string
	Volumes []Logical
}

// Logical is a logical volume.
type Logical struct {
	Name, Pool, Origin string
	Tags               []string
	Size               int64   // bytes
	Used, MetaUsed     float64 // percent; negative: not said, as of what is not active
	Active, Suspended  bool
	ID                 int // of a thin volume in its pool
}

const (
	// groupTag marks a group as masthead's: others of that name are left alone.
	groupTag = "masthead"
	// poolName has a dot, which no volume's name has.
	poolName = "thin.pool"
)

// lvmConfig: no daemon watches the pool beside masthead, nothing is written to the root for each snapshot, and no list of
// devices from another boot is trusted. A pool that is full says so at once: then DRBD goes on with the other copy, while I/O
// that waits for room, LVM's default for a minute, would stop the services of both.
const lvmConfig = `activation/monitoring=0 activation/error_when_full=1 backup/backup=0 backup/archive=0 devices/hints="none"`

// lvm is a command of LVM that looks at one device alone: a DRBD whose writes wait lets no reader through either.
func lvm(device, program string, args ...string) []string {
	return append([]string{program, "--devices", device, "--config", lvmConfig}, args...)
}

var (
	groupFields   = "vg_name,vg_tags"
	logicalFields = "lv_name,pool_lv,origin,lv_tags,lv_size,data_percent,metadata_percent,lv_active,lv_suspended,thin_id"
)

func lookAtGroups(device string) []string {
	return lvm(device, "vgs", "--reportformat", "json", "--options", groupFields)
}

func lookAtVolumes(device, group string) []string {
	return lvm(device, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", logicalFields, group)
}

// rows are those of one kind in a report (lvmreport(7)). Warnings may stand around it.
func rows(out, kind string) (all []map[string]string, err error) {
	from, to := strings.IndexByte(out, '{'), strings.LastIndexByte(out, '}')
	if from < 0 || to < from {
		return nil, fmt.Errorf("LVM's report: %q is none", lastLines(out))
	}
	var doc struct {
		Report []map[string][]map[string]string `json:"report"`
	}
	if err := json.Unmarshal([]byte(out[from:to+1]), &doc); err != nil {
		return nil, fmt.Errorf("LVM's report: %w", err)
	}
	for _, part := range doc.Report {
		all = append(all, part[kind]...)
	}
	return all, nil
}

func parseGroups(out string) (all []Group, err error) {
	found, err := rows(out, "vg")
	for _, row := range found {
		if row["vg_name"] == "" {
			return nil, errors.New("LVM's report: a group without a name")
		}
		all = append(all, Group{Name: row["vg_name"], Tags: tags(row["vg_tags"])})
	}
	return all, err
}

func parseLogicals(out string) (all []Logical, err error) {
	found, err := rows(out, "lv")
	for _, row := range found {
		l := Logical{
			Name: row["lv_name"], Pool: row["pool_lv"], Origin: row["origin"], Tags: tags(row["lv_tags"]),
			Used: percent(row["data_percent"]), MetaUsed: percent(row["metadata_percent"]),
			Active: row["lv_active"] == "active", Suspended: row["lv_suspended"] == "suspended", ID: int(number(row["thin_id"])),
		}
		if l.Size, err = strconv.ParseInt(row["lv_size"], 10, 64); err != nil || l.Name == "" || l.Size < 0 {
			return nil, fmt.Errorf("LVM's report: the volume %q has the size %q", l.Name, row["lv_size"])
		}
		all = append(all, l)
	}
	return all, err
}

func tags(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func percent(text string) float64 {
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || !(p >= 0 && p <= 100) {
		return -1
	}
	return p
}

// named gives one of the volumes; nil: there is none.
func (g *Group) named(name string) *Logical {
	if i := slices.IndexFunc(g.Volumes, func(l Logical) bool { return l.Name == name }); i >= 0 {
		return &g.Volumes[i]
	}
	return nil
}

const (
	longestBase = 24  // of a group's name that comes from its device
	longestName = 126 // of a mapped device: DM_NAME_LEN of linux/dm-ioctl.h, with its end
)

// groupName is that of the group on a device. It follows from the configuration, so that both heads' names are known to DRBD's
// file; a long one is cut, and stays one of its own.
func groupName(device string) string {
	base := strings.TrimPrefix(filepath.Base(device), groupTag+"-")
	base = strings.NewReplacer(":", "-", "=", "-", "@", "-").Replace(base)
	if len(base) > longestBase {
		base = fmt.Sprintf("%s-%x", base[:longestBase-9], sha256.Sum256([]byte(device)))[:longestBase]
	}
	return groupTag + "-" + base
}

// lower is what is beneath DRBD on a head: its device, or the thin volume on that.
func (v Volume) lower(head string) string {
	if v.snapshotsBy() == LVM {
		return logicalPath(groupName(v.device(head)), v.Name)
	}
	return v.device(head)
}

func logicalPath(group, name string) string { return "/dev/" + group + "/" + name }

// mapped is the name that the device mapper has for a layer of a logical volume: hyphens are doubled (libdm, dm_build_dm_name).
func mapped(group, name, layer string) string {
	double := strings.NewReplacer("-", "--")
	return double.Replace(group) + "-" + double.Replace(name) + layer
}
