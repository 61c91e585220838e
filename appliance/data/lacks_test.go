package data

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLacks(t *testing.T) {
	volumes := []Volume{
		{Name: "db", Device: "/dev/nope", Devices: map[string]string{"head2": "/dev/sdb"}},
		{Name: "mail", Filesystem: Ext4, SnapshotsBy: LVM},
	}
	all := []string{
		"/usr/sbin/drbdadm", "/sbin/drbdsetup", "/usr/sbin/mkfs.btrfs", "/usr/bin/btrfs", "/usr/sbin/mkfs.ext4", "/usr/sbin/lvs", "/usr/sbin/thin_check",
		DefaultDevice, "/dev/sdb",
	}
	for _, tt := range []struct {
		head    string
		volumes []Volume
		is      []string
		want    []string
	}{
		{"head1", nil, nil, nil},
		{"head2", volumes, all, nil},
		{"head1", volumes, all, []string{"data[0]: volume db waits: head1 has no device /dev/nope"}},
		{"head1", volumes[1:], all[4:], []string{"data: head1 has no drbdadm: add the package drbd-utils to the image of the heads"}},
		{"head2", volumes[:1], all[:2], []string{
			"data: head2 has no mkfs.btrfs: add the package btrfs-progs to the image of the heads", "data[0]: volume db waits: head2 has no device /dev/sdb",
		}},
	} {
		got := lacks(tt.volumes, tt.head, func(path string) bool { return slices.Contains(tt.is, path) })
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.head, diff)
		}
	}
}
