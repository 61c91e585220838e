package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// replicatedPair is a pair whose database lies on a replicated volume: data, its file system and folders, then MariaDB, then
// the virtual address.
const replicatedPair = fencedPair + `data:
  - name: data
    device: /dev/vdb
    resync_rate: 10M # what an emulated processor has time for
    folders: [/cluster, /srv, /var/lib/mysql]
services:
  - name: db
    resources:
      - {name: volume, data: {volume: data}}
      - {name: mariadb, unit: {name: ` + DatabaseUnit + `}}
`

// dataFaults are what befalls the owner, drawn from a seed.
var dataFaults = []struct {
	name   string
	inject func(ctx context.Context, t *Takeover, owner, standby string) error
}{
	{"power cut", powerCut}, {"panic", kernelPanic}, {"partition", allCut}, {"pause", pauseAndResume},
}

// TestVMData writes to a database on a replicated volume from outside, without a pause, while the owner loses its power,
// panics, is cut off and is paused. What was acknowledged is there afterwards, and both copies are the same.
//
// MASTHEAD_DATA_FAULTS is how many faults there are, MASTHEAD_SEED draws them.
func TestVMData(t *testing.T) {
	t.Parallel()
	program(t)
	definition, err := filepath.Abs("../head-data.yaml")
	must(t, err)
	config := pairOf("data", vmtest.MachineConfig{
		Role: string(images.RoleHead), Memory: 1024, ISO: iso(t, definition), Watchdog: qemu.WatchdogReset,
		Disks:   []vmtest.DiskConfig{{Size: headDisk, Label: images.StateLabel}, {Size: 384 << 20}},
		Forward: map[string]int{HTTPS: 443, plainHTTP: 80, MySQLPort: 3306},
	})
	config.Cluster = replicatedPair
	s := startSeveral(t, 2, config)
	db := Database{s.Cluster}
	must(t, db.Define(t.Context(), s.clients["head1"], "head1"))
	s.equal(t, "head1", afterHeal)
	over := s.watched(t)
	s.inSync(t, "the volume is made, and both copies are the same")
	owner := s.serves(t, over)
	must(t, db.Create(t.Context(), s.clients[owner], owner))
	for _, folder := range []string{"/cluster", "/srv", "/var/lib/mysql"} {
		s.shell(t, owner, "findmnt -n -o SOURCE --mountpoint "+folder)
	}

	w := &Writer{}
	stop := s.writes(t, w)
	defer stop()
	seed, faults := dataSeed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	order := random.Perm(len(dataFaults))
	for i := range faults {
		if i > 0 && i%len(order) == 0 {
			order = random.Perm(len(dataFaults))
		}
		fault := dataFaults[order[i%len(order)]]
		if !t.Run(fmt.Sprintf("%d %s", i+1, fault.name), func(t *testing.T) { s.dataFault(t, over, w, fault.inject, random) }) {
			t.FailNow()
		}
		if i%10 == 9 {
			s.verified(t)
		}
	}
	t.Run("planned switch", func(t *testing.T) {
		s.dataFault(t, over, w, plannedSwitch, random)
	})
	stop()
	s.verified(t)
	owner = s.serves(t, over)
	s.nothingLost(t, owner, w)
	t.Logf("btrfs: %s", s.shell(t, owner, "btrfs scrub start -B /run/masthead/data/data | grep -E 'Error summary|no errors' && btrfs device stats -c /run/masthead/data/data"))
	t.Logf("%d faults from seed %d: %d writes acknowledged, %d tried, none lost", faults, seed, len(w.Acknowledged()), w.Tried())
}

// serves waits until both heads are whole and the database runs on the owner.
func (s *several) serves(t *testing.T, over *Takeover) (owner string) {
	t.Helper()
	eventually(t, bootTime, "the database runs on the owner", func(ctx context.Context) error {
		status, err := over.owner(ctx, "head1")
		if err != nil {
			return err
		}
		owner = status.Owner
		if status, err = over.owner(ctx, owner); err != nil {
			return err
		}
		for _, one := range status.Services {
			if one.Name == "db" && one.State == "started" && status.Why.Phase == "active" {
				return nil
			}
		}
		return fmt.Errorf("%s is in phase %s: %s; services %+v", owner, status.Why.Phase, status.Why.Summary, status.Services)
	})
	return owner
}

func dataSeed(t *testing.T) (seed uint64, faults int) {
	seed, faults = uint64(time.Now().UnixNano()), len(dataFaults)
	var err error
	if text := os.Getenv("MASTHEAD_SEED"); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	if text := os.Getenv("MASTHEAD_DATA_FAULTS"); text != "" {
		faults, err = strconv.Atoi(text)
		must(t, err)
	}
	t.Logf("MASTHEAD_SEED=%d MASTHEAD_DATA_FAULTS=%d", seed, faults)
	return seed, faults
}

// dataFault injects one, and waits until both heads are whole again, and both copies up to date.
func (s *several) dataFault(t *testing.T, over *Takeover, w *Writer, inject func(context.Context, *Takeover, string, string) error, random *rand.Rand) {
	owner, _, err := over.AwaitWhole(t.Context(), bootTime)
	must(t, err)
	must(t, w.Await(t.Context(), bootTime, owner, 5)) // it is in the middle of writing
	must(t, hold(t.Context(), time.Duration(random.IntN(2000))*time.Millisecond))
	standby := over.Other(owner)
	began := time.Now()
	must(t, inject(t.Context(), over, owner, standby))
	must(t, over.AwaitTaken(t.Context(), standby, takenIn))
	taken := time.Since(began)
	must(t, w.Await(t.Context(), bootTime, standby, 3))
	writes := time.Since(began)
	_, _, refenced, err := over.whole(t.Context())
	must(t, err)
	s.inSync(t, "both copies are up to date")
	t.Logf("%s → %s: taken over in %.1f s, written to in %.1f s, in sync in %.1f s (%d refenced)", owner, standby, taken.Seconds(), writes.Seconds(), time.Since(began).Seconds(), refenced)
	s.nothingLost(t, standby, w)
}

// inSync waits until both copies of the volume are up to date and see one another.
func (s *several) inSync(t *testing.T, what string) {
	t.Helper()
	eventually(t, bootTime, what, func(ctx context.Context) error { return InSync(ctx, s.clients["head1"]) })
}

// verified compares the copies block by block.
func (s *several) verified(t *testing.T) {
	t.Helper()
	out := s.mustAt(t, "head1", "data", "verify")
	t.Logf("%s", strings.TrimSpace(out))
	if !strings.Contains(out, "no differences") {
		t.Errorf("the copies differ:\n%s", out)
	}
}

// writes has w write to the database. stop waits for the end of it, and may be called twice.
func (s *several) writes(t *testing.T, w *Writer) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { w.Run(ctx, s.Cluster) })
	return func() { cancel(); all.Wait() }
}

// nothingLost looks for every acknowledged write at the owner (I4).
func (s *several) nothingLost(t *testing.T, owner string, w *Writer) {
	t.Helper()
	acknowledged := w.Acknowledged() // before it is looked
	lost, err := Database{s.Cluster}.Missing(t.Context(), s.clients[owner], owner, acknowledged)
	must(t, err)
	if len(lost) > 0 {
		t.Fatalf("%d of %d acknowledged writes are lost on %s, the first are %v", len(lost), len(acknowledged), owner, lost[:min(len(lost), 10)])
	}
}
