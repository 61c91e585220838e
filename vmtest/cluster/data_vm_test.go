package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// replicatedPair is a pair whose database lies on a replicated volume: data, its file system and folders, then MariaDB, then
// the virtual address.
const replicatedPair = fencedPair + `data:
  - name: data
    device: /dev/vdb
    resync_rate: 60M # more than an emulated processor has time for
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

// TestVMData writes to a database on a replicated volume from outside, without a pause around each fault, while the owner
// loses its power, panics, is cut off and is paused. What was acknowledged is there afterwards, and both copies are the same.
//
// MASTHEAD_DATA_FAULTS=50 is a long run: that many faults and a switch, and nothing else; 0 has none. MASTHEAD_SEED draws them. Left
// out it is one of each, or where MASTHEAD_LONG is not set a power cut.
func TestVMData(t *testing.T) {
	turn := awaitTurn(t, fenced, 2)
	definition, err := filepath.Abs("../head-data.yaml")
	must(t, err)
	config := pairOf("data", vmtest.MachineConfig{
		Role: string(images.RoleHead), Memory: 1024, ISO: iso(t, definition), Watchdog: qemu.WatchdogReset,
		Disks:   []vmtest.DiskConfig{{Size: headDisk, Label: images.StateLabel}, {Size: 384 << 20}},
		Forward: map[string]int{HTTPS: 443, plainHTTP: 80, MySQLPort: 3306},
	})
	config.Cluster = replicatedPair
	s := turn.startSeveral(t, config)
	db := Database{s.Cluster}
	must(t, db.Define(t.Context(), s.clients["head1"], "head1"))
	s.equal(t, "head1", afterHeal)
	over := s.watched(t, slowProbes)
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
	order := []int{0}
	if faults > 1 {
		order = random.Perm(len(dataFaults))
	}
	var rows dataRows
	defer func() { t.Logf("seed %d:\n%s", seed, rows) }()
	for i := range faults {
		if i > 0 && i%len(order) == 0 {
			order = random.Perm(len(dataFaults)) // each kind as often
		}
		fault := dataFaults[order[i%len(order)]]
		if !t.Run(fmt.Sprintf("%d %s", i+1, fault.name), func(t *testing.T) { rows = append(rows, s.dataFault(t, over, w, fault.name, fault.inject, random)) }) {
			t.FailNow()
		}
		if i%10 == 9 {
			s.verified(t)
		}
	}
	if isLong() && faults == len(dataFaults) {
		s.booted(t)
		s.killed(t, over, s.serves(t, over), DatabaseUnit)
	}
	t.Run("planned switch", func(t *testing.T) {
		rows = append(rows, s.dataFault(t, over, w, "switch", plannedSwitch, random))
	})
	stop()
	s.verified(t)
	owner = s.serves(t, over)
	s.nothingLost(t, owner, w)
	s.fsck(t, over, owner)
	t.Logf("%d faults from seed %d: %d writes acknowledged, %d tried, none lost", faults, seed, len(w.Acknowledged()), w.Tried())
	if !t.Failed() && faults <= len(dataFaults) { // a long run is about faults
		t.Run("snapshots", func(t *testing.T) {
			kinds := []string{"rollback"}
			if faults > 0 { // then one was made before each resync
				kinds = append(kinds, "resync")
			}
			s.snapshots(t, s.serves(t, over), "mariadb -N -e 'select count(*) from lab.w'", "mariadb -e 'insert into lab.w values (-1)'", kinds...)
		})
		t.Run("both were written to", func(t *testing.T) { s.divergence(t, over) })
	}
}

// dataRow is what became of one fault.
type dataRow struct {
	fault, owner, next            string
	silent, taken, writes, inSync time.Duration // from the fault, but for silent: of the virtual address
	acknowledged, lost, twoOwners int
	refenced                      int // times that a head was switched off again while it came back
}

type dataRows []dataRow

func (all dataRows) String() string {
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "#\tinjected\towned\tthen\taddress silent\ttaken over\twritten to\tin sync\tacknowledged\tlost\ttwo owners\tswitched off again")
	for i, r := range all {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%.1f s\t%.1f s\t%.1f s\t%.1f s\t%d\t%d\t%d\t%d\n", i+1, r.fault, r.owner, r.next, r.silent.Seconds(), r.taken.Seconds(),
			r.writes.Seconds(), r.inSync.Seconds(), r.acknowledged, r.lost, r.twoOwners, r.refenced)
	}
	_ = w.Flush() // to memory
	return s.String()
}

// fsck looks at the file system while nobody has it: of both copies, below DRBD.
func (s *several) fsck(t *testing.T, over *Takeover, owner string) {
	t.Helper()
	t.Logf("scrub: %s", s.shell(t, owner, "btrfs scrub start -B /run/masthead/data/data | grep -E 'Error summary|no errors' && btrfs device stats -c /run/masthead/data/data"))
	s.mustAt(t, owner, "service", "stop", "db")
	eventually(t, replyTime, "nobody has the volume mounted", func(ctx context.Context) error {
		for _, head := range s.Named(images.RoleHead) {
			if _, err := Shell(ctx, s.clients[head], head, "! grep -q ^/dev/drbd /proc/mounts", nil, shellWithin); err != nil {
				return err
			}
		}
		return nil
	})
	for _, head := range s.Named(images.RoleHead) {
		out := s.shell(t, head, "btrfs check --readonly --force /dev/vdb 2>&1")
		t.Logf("fsck on %s: %s", head, out)
		if !strings.Contains(out, "no error found") {
			t.Errorf("fsck on %s:\n%s", head, out)
		}
	}
	s.mustAt(t, owner, "service", "enable", "db")
	s.serves(t, over)
}

// serves waits until the database runs on the owner. One of the heads may be off.
func (s *several) serves(t *testing.T, over *Takeover) (owner string) {
	t.Helper()
	eventually(t, bootTime, "the database runs on the owner", func(ctx context.Context) error {
		var status wire.OwnerStatus
		var err error
		for _, head := range s.Named(images.RoleHead) {
			if status, err = over.owner(ctx, head); err == nil {
				break
			}
		}
		if err != nil || status.Owner == "" {
			return errors.Join(errors.New("nobody owns the cluster"), err)
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
	seed, faults = uint64(time.Now().UnixNano()), 1
	if isLong() {
		faults = len(dataFaults)
	}
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

// databaseTaken bounds a takeover with a database that recovers, beside other guests.
const databaseTaken = 6 * time.Minute

// healPause is the pause between two writes while both heads become whole again: a write takes a tenth of a second of both emulated
// processors.
const healPause = time.Second

// dataFault injects one, and waits until both heads are whole again, and both copies up to date.
func (s *several) dataFault(t *testing.T, over *Takeover, w *Writer, name string, inject func(context.Context, *Takeover, string, string) error, random *rand.Rand) dataRow {
	owner := s.inTheMiddle(t, over, w)
	must(t, hold(t.Context(), time.Duration(random.IntN(2000))*time.Millisecond))
	standby := over.Other(owner)
	began, from := time.Now(), over.Record.Now()
	row := dataRow{fault: name, owner: owner, next: standby}
	must(t, inject(t.Context(), over, owner, standby))
	must(t, over.AwaitTaken(t.Context(), standby, databaseTaken))
	row.taken = time.Since(began)
	row.silent, _ = over.Silence(from)
	must(t, w.Await(t.Context(), bootTime, standby, 3))
	row.writes = time.Since(began)
	w.SetPause(healPause)
	_, _, refenced, err := over.Whole(t.Context())
	must(t, err)
	row.refenced = refenced
	if row.refenced > 0 && !Emulated() { // I11
		t.Errorf("a head that booted was switched off %d times", row.refenced)
	}
	s.inSync(t, "both copies are up to date")
	row.inSync = time.Since(began)
	if _, row.twoOwners = over.Silence(from); row.twoOwners > 0 { // I1, until the old owner is a standby
		t.Errorf("both heads answered for the address, %d times", row.twoOwners)
	}
	row.acknowledged, row.lost = len(w.Acknowledged()), s.nothingLost(t, standby, w)
	t.Logf("%s: %s → %s: taken over in %.1f s, written to in %.1f s, in sync in %.1f s, %d acknowledged", name, owner, standby, row.taken.Seconds(), row.writes.Seconds(), row.inSync.Seconds(), row.acknowledged)
	return row
}

// inTheMiddle waits until both heads are whole, have booted, and the owner acknowledges one write after another. The owner may
// change meanwhile where the host has no time for it.
func (s *several) inTheMiddle(t *testing.T, over *Takeover, w *Writer) (owner string) {
	t.Helper()
	for try := range tries {
		var err error
		owner, _, _, err = over.Whole(t.Context())
		must(t, err)
		s.booted(t)
		w.SetPause(0)
		if err = w.Await(t.Context(), databaseTaken, owner, 5); err == nil {
			break
		}
		status, asked := over.owner(t.Context(), owner)
		moved := asked != nil || status.Owner != owner
		if !moved || try == tries-1 || !Emulated() {
			t.Fatal(err)
		}
		t.Logf("%s does not own any more: %v", owner, err)
	}
	return owner
}

// tries is how often a step is begun that ends when a head is switched off in the middle of it, as an emulated one may be.
const tries = 3

// booted waits until systemd has started all on both heads: they own and follow long before, and a takeover beside the rest
// takes three times as long.
func (s *several) booted(t *testing.T) {
	t.Helper()
	for _, head := range s.Named(images.RoleHead) {
		eventually(t, bootTime, head+" has booted", func(ctx context.Context) error {
			if err := s.returns(ctx, t, head); err != nil {
				return err
			}
			_, err := Shell(ctx, s.clients[head], head, "systemctl is-system-running | grep -xE 'running|degraded'", nil, shellWithin)
			return err
		})
	}
}

// returns switches a head on that was switched off in the middle of a step (I11). Only where processors are emulated may that be: a
// machine that stands still because its host is busy is dead to the other one. Who has fenced it looks a moment later whether it is
// off, and is left the time for that.
func (s *several) returns(ctx context.Context, t *testing.T, head string) error {
	t.Helper()
	if !s.isOff(ctx, head) {
		return nil
	}
	if !Emulated() {
		return fmt.Errorf("%s was switched off, and nothing was wrong with it", head)
	}
	t.Logf("%s was switched off, and is switched on again", head)
	if err := hold(ctx, fenceLook); err != nil {
		return err
	}
	return s.back(ctx, head)
}

// fenceLook is the time in which a head that has fenced another one has seen that it is off.
const fenceLook = 5 * time.Second

// inSync waits until both copies of the volume are up to date and see one another. A head that was switched off, since this
// host had no time for it, is switched on again.
func (s *several) inSync(t *testing.T, what string) {
	t.Helper()
	eventually(t, bootTime, what, func(ctx context.Context) error {
		for _, head := range s.Named(images.RoleHead) {
			if err := s.returns(ctx, t, head); err != nil {
				return err
			}
		}
		return InSync(ctx, s.clients["head1"])
	})
}

// verified compares the copies block by block. A comparison that is cut off, as an emulated head was taken for dead in the middle
// of it, is begun again, if it had found no difference: a resync would hide that.
func (s *several) verified(t *testing.T) {
	t.Helper()
	for try := range tries {
		s.inSync(t, "there are two copies to compare")
		out, err := s.at(t, "head1", "data", "verify")
		t.Logf("%s", strings.TrimSpace(out))
		if err == nil && strings.Contains(out, "no differences") {
			return
		}
		cutOff := strings.Contains(out, "not connected any more") || strings.Contains(out, "without a result") || strings.Contains(out, "is not known")
		if !cutOff || try == tries-1 || !Emulated() {
			t.Fatalf("data verify: %v\n%s", err, out)
		}
		for _, head := range s.Named(images.RoleHead) {
			if said := s.Machine(head).Console.String(); strings.Contains(said, "Out of sync: start=") { // drbd_worker.c
				t.Fatalf("the copies differ, by the log of %s", head)
			}
		}
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
func (s *several) nothingLost(t *testing.T, owner string, w *Writer) (lostWrites int) {
	t.Helper()
	acknowledged := w.Acknowledged() // before it is looked
	lost, err := Database{s.Cluster}.Missing(t.Context(), s.clients[owner], owner, acknowledged)
	must(t, err)
	if len(lost) > 0 {
		t.Errorf("%d of %d acknowledged writes are lost on %s, the first are %v", len(lost), len(acknowledged), owner, lost[:min(len(lost), 10)])
	}
	return len(lost)
}
