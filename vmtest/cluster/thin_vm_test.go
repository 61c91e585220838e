package cluster

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// thinPair is a pair with thin LVM beneath its volume.
const thinPair = fencedPair + `data:
  - name: data
    device: /dev/vdb
    filesystem: ext4
    snapshots_by: lvm
    resync_rate: 20M
    folders: [/cluster, /srv]
services:
  - name: db
    resources: [{name: volume, data: {volume: data}}]
`

// TestVMThin keeps states of a volume beneath DRBD, and goes back to one: the other copy is made anew from it. A head that comes
// back finds its volumes again, and keeps what it had before it is brought up to date. A pool that is nearly full is left alone.
func TestVMThin(t *testing.T) {
	long(t)
	turn := awaitTurn(t, fenced, 2)
	definition, err := filepath.Abs("../head-thin.yaml")
	must(t, err)
	config := pairOf("thin", vmtest.MachineConfig{
		Role: string(images.RoleHead), Memory: 768, ISO: iso(t, definition), Watchdog: qemu.WatchdogReset,
		Disks:   []vmtest.DiskConfig{{Size: headDisk, Label: images.StateLabel}, {Size: 200 << 20}},
		Forward: map[string]int{HTTPS: 443, plainHTTP: 80},
	})
	config.Cluster = thinPair
	s := turn.startSeveral(t, config)
	over := s.watched(t, slowProbes)
	s.inSync(t, "the volume is made, and both copies are the same")
	owner := s.serves(t, over)
	t.Logf("%s", s.logicals(t, owner))

	t.Run("snapshots", func(t *testing.T) {
		s.snapshots(t, owner, "cat /cluster/state 2>/dev/null || echo none", "echo changed > /cluster/state", "rollback")
		s.inSync(t, "the other copy is made anew")
		s.verified(t)
		if was := s.logicals(t, over.Other(owner)); !strings.Contains(was, "-resync") {
			t.Errorf("%s has kept nothing before it was made anew:\n%s", over.Other(owner), was)
		}
	})
	t.Run("power cut", func(t *testing.T) {
		standby := over.Other(owner)
		must(t, powerCut(t.Context(), over, owner, standby))
		must(t, over.AwaitTaken(t.Context(), standby, takenIn))
		eventually(t, bootTime, standby+" has the volume in use", func(ctx context.Context) error {
			_, err := Shell(ctx, s.clients[standby], standby, "findmnt --mountpoint /srv", nil, shellWithin)
			return err
		})
		if got := s.shell(t, standby, "cat /srv/changed; echo since > /srv/changed; sync"); got != "one" {
			t.Errorf("on %s, which was made anew: %q", standby, got)
		}
		_, _, _, err := over.Whole(t.Context())
		must(t, err)
		s.inSync(t, owner+" is back")
		if was := s.logicals(t, owner); !strings.Contains(was, "-resync") {
			t.Errorf("%s has kept nothing before it was brought up to date:\n%s", owner, was)
		}
		s.verified(t)
	})
	t.Run("a full pool", func(t *testing.T) { s.fullPool(t, s.serves(t, over)) })
}

// logicals are the logical volumes of a head, as LVM's own program shows them.
func (s *several) logicals(t *testing.T, head string) string {
	t.Helper()
	return s.shell(t, head, "lvs -a -o lv_name,lv_attr,lv_size,origin,data_percent,metadata_percent,lv_tags masthead-vdb")
}

// fullPool writes until the pool has no room for another snapshot, and makes room again.
func (s *several) fullPool(t *testing.T, owner string) {
	const write = "dd if=/dev/urandom of=/srv/large bs=1M count=50 conv=notrunc,fsync 2>&1"
	s.shell(t, owner, write)
	var made []string
	for len(made) < 4 {
		out, err := s.at(t, owner, "snapshot", "create")
		if err != nil {
			if !contains(out, "% full", "masthead snapshot rm") {
				t.Errorf("snapshot create: %s", out)
			}
			break
		}
		words := strings.Fields(out)
		made = append(made, words[len(words)-1])
		s.shell(t, owner, write)
	}
	t.Logf("%s\n%s", s.mustAt(t, owner, "snapshot", "list"), s.logicals(t, owner))
	if len(made) == 0 || len(made) == 4 {
		t.Fatalf("%d snapshots in a pool that is full", len(made))
	}
	for _, name := range made {
		s.mustAt(t, owner, "snapshot", "rm", name)
	}
	s.mustAt(t, owner, "snapshot", "create", "--name", "room-again")
}
