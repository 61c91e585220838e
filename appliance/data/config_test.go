package data

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// many are volumes that have their numbers from their places.
func many(n int) (all []Volume) {
	for i := range n {
		all = append(all, Volume{Name: fmt.Sprintf("v%d", i), Device: fmt.Sprintf("/dev/vd%d", i)})
	}
	return all
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name    string
		volumes []Volume
		want    []string // field: reason
	}{
		{"none", nil, nil},
		{"the least", []Volume{{Name: "data"}}, nil},
		{"two", []Volume{{Name: "data", Folders: []string{"/srv"}}, {Name: "mail", Folders: []string{"/var/mail"}, Device: "/dev/sdb", Filesystem: "ext4"}}, nil},
		{"names", []Volume{{Name: "Data"}, {Name: "a", Device: "/dev/sdb"}, {Name: "a", Device: "/dev/sdc"}}, []string{
			"data[0].name: want lower-case letters, digits and -, 32 at most", "data[2].name: is there twice",
		}},
		{"folders", []Volume{{Name: "data", Folders: []string{"srv", "/", "/run/x", "/srv", "/srv/a", "/var/lib/masthead/x"}}}, []string{
			"data[0].folders[0]: want a path from the root: /srv", "data[0].folders[1]: belongs to the machine itself", "data[0].folders[2]: belongs to the machine itself",
			"data[0].folders[2]: and / of volume data lie in one another", "data[0].folders[3]: and / of volume data lie in one another",
			"data[0].folders[4]: and /srv of volume data lie in one another", "data[0].folders[4]: and / of volume data lie in one another",
			"data[0].folders[5]: belongs to the machine itself", "data[0].folders[5]: and / of volume data lie in one another",
		}},
		{"ports", []Volume{{Name: "a", Port: 7789}, {Name: "b", Device: "/dev/sdb"}}, []string{"data[1].port: is that of volume a"}},
		{"as many as there can be", many(64), nil},
		{"one more", append(many(64), Volume{Name: "one-more", Device: "/dev/sdb", Port: 9000}), []string{"data[64].number: want 1 to 64"}},
		{"values", []Volume{{Name: "a", Device: "vdb", Size: "1 G", Filesystem: "zfs", Options: []string{"a b"}, ResyncRate: "fast"}}, []string{
			"data[0].device: want a path: /dev/vdb", "data[0].size: want a number and K, M, G or T", "data[0].resync_rate: want a number and K, M or G, a second, and 4G at most",
			"data[0].filesystem: want btrfs or ext4", "data[0].options[0]: is no option of mount",
		}},
		{"snapshots", []Volume{{Name: "a", Filesystem: "ext4", Snapshots: []Schedule{{"1h", 24}, {"1s", 2}, {"1h", 0}, {"often", 1}}}}, []string{
			"data[0].snapshots[0]: snapshots need the file system btrfs, or snapshots_by: lvm", "data[0].snapshots[1]: want a minute or more", "data[0].snapshots[2]: keep: want 1 or more",
			"data[0].snapshots[3]: want a time: 15m, 1h, 24h",
		}},
		{"beneath", []Volume{
			{Name: "a", SnapshotsBy: "lvm", Filesystem: "ext4", Size: "1G", Snapshots: []Schedule{{"1h", 24}}}, {Name: "b", SnapshotsBy: "lvm", Size: "2T"},
		}, nil},
		{"beneath, and cannot be", []Volume{
			{Name: "a", SnapshotsBy: "zfs"}, {Name: "b", SnapshotsBy: "btrfs", Filesystem: "ext4", Device: "/dev/sdb"}, {Name: "snapshots", SnapshotsBy: "lvm", Device: "/dev/sdc"},
			{Name: "pvmover", SnapshotsBy: "lvm", Size: "1G", Devices: map[string]string{"head2": "/dev/sdc"}, Device: "/dev/sdd"}, {Name: "e", SnapshotsBy: "lvm"},
		}, []string{
			"data[0].snapshots_by: want btrfs or lvm", "data[1].snapshots_by: needs the file system btrfs", "data[2].name: LVM keeps names that begin with snapshot for itself",
			"data[3].name: LVM keeps names that begin with pvmove for itself", "data[3].size: wanted of both snapshots and pvmover, which share a device",
			"data[4].device: is that of volume a: volumes share one only by snapshots_by: lvm",
		}},
	}
	for _, tt := range tests {
		var got []string
		for _, p := range Check(tt.volumes) {
			got = append(got, fmt.Sprintf("data[%d].%s", p.Index, p.Field)+": "+p.Reason)
		}
		sortStrings := cmp.Transformer("set", func(s []string) map[string]int {
			m := map[string]int{}
			for _, x := range s {
				m[x]++
			}
			return m
		})
		if diff := cmp.Diff(tt.want, got, sortStrings); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
