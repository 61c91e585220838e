package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
      - {name: mariadb, unit: {name: lab-db}}
`

// labDB is MariaDB as a unit that only the cluster starts. Anybody may write, from outside too, on whichever head it runs:
// so a head that should not write any more is found out.
const labDB = `mkdir -p /etc/systemd/system
cat > /etc/systemd/system/lab-db.service <<'E'
[Service]
Type=notify
ExecStartPre=/usr/bin/install -d -m 755 -o mysql -g root /run/mysqld
ExecStart=/usr/sbin/mariadbd --user=mysql --bind-address=0.0.0.0 --innodb-buffer-pool-size=16M --innodb-flush-log-at-trx-commit=1 --skip-name-resolve
TimeoutStartSec=300
OOMScoreAdjust=-500
E
masthead file add /etc/systemd/system/lab-db.service`

// labTable is what is written to.
const labTable = `mariadb -e "create database if not exists lab; create table if not exists lab.w (id bigint primary key) engine=innodb;
create user if not exists writer@'%' identified by ''; grant all on lab.* to writer@'%'"`

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
		Forward: map[string]int{HTTPS: 443, plainHTTP: 80, "mysql": 3306},
	})
	config.Cluster = replicatedPair
	s := startSeveral(t, 2, config)
	s.shell(t, "head1", labDB)
	s.equal(t, "head1", afterHeal)
	over := s.watched(t)
	s.inSync(t, "the volume is made, and both copies are the same")
	owner := s.serves(t, over)
	s.shell(t, owner, labTable)
	for _, folder := range []string{"/cluster", "/srv", "/var/lib/mysql"} {
		s.shell(t, owner, "findmnt -n -o SOURCE --mountpoint "+folder)
	}

	w := &writer{cluster: s.Cluster}
	stop := w.start(t)
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
	t.Logf("%d faults from seed %d: %d writes acknowledged, %d tried, none lost", faults, seed, len(w.acknowledged()), w.tried())
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
func (s *several) dataFault(t *testing.T, over *Takeover, w *writer, inject func(context.Context, *Takeover, string, string) error, random *rand.Rand) {
	owner, _, err := over.AwaitWhole(t.Context(), bootTime)
	must(t, err)
	w.await(t, owner, 5) // it is in the middle of writing
	must(t, hold(t.Context(), time.Duration(random.IntN(2000))*time.Millisecond))
	standby := over.Other(owner)
	began := time.Now()
	must(t, inject(t.Context(), over, owner, standby))
	must(t, over.AwaitTaken(t.Context(), standby, takenIn))
	taken := time.Since(began)
	w.await(t, standby, 3)
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
	eventually(t, bootTime, what, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, take)
		defer cancel()
		all, err := s.clients["head1"].Data(ctx)
		if err != nil {
			return err
		}
		for _, v := range all {
			if v.State != "up to date" || v.Connection != "Connected" || v.Replication != "Established" {
				return fmt.Errorf("%s: %s, %s, %s %.0f %%: %s%s", v.Head, v.State, v.Connection, v.Replication, v.Done, v.Doing, v.Trouble)
			}
		}
		if len(all) != 2 {
			return fmt.Errorf("%d copies", len(all))
		}
		return nil
	})
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

// nothingLost looks for every acknowledged write at the owner (I4).
func (s *several) nothingLost(t *testing.T, owner string, w *writer) {
	t.Helper()
	acknowledged := w.acknowledged() // before it is looked
	there := map[string]bool{}
	for _, id := range strings.Fields(s.shell(t, owner, "mariadb -N -e 'select id from lab.w'")) {
		there[id] = true
	}
	var lost []int64
	for _, id := range acknowledged {
		if !there[strconv.FormatInt(id, 10)] {
			lost = append(lost, id)
		}
	}
	if len(lost) > 0 {
		t.Fatalf("%d of %d acknowledged writes are lost on %s, the first are %v", len(lost), len(acknowledged), owner, lost[:min(len(lost), 10)])
	}
}

// writer writes ascending numbers, wherever the database answers, and keeps those that were acknowledged.
type writer struct {
	cluster *Cluster

	mu    sync.Mutex
	last  int64
	acked []int64
	by    map[string]int // of each head
}

// writeWithin bounds a write: one to a head that is frozen hangs.
const writeWithin = 2 * time.Second

// start begins to write. stop waits for the end of it, and may be called twice.
func (w *writer) start(t *testing.T) (stop func()) {
	w.by = map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, head := range w.cluster.Named(images.RoleHead) {
		all.Go(func() { w.run(ctx, head) })
	}
	return func() { cancel(); all.Wait() }
}

// run writes to one head while its database answers.
func (w *writer) run(ctx context.Context, head string) {
	var db *mysql
	for ctx.Err() == nil {
		if db == nil {
			var err error
			if db, err = dialMySQL(w.cluster.Machine(head).Forward("mysql"), "writer", "lab", writeWithin); err != nil {
				db = nil
				_ = hold(ctx, 100*time.Millisecond) // ends with ctx
				continue
			}
		}
		id := w.next()
		if err := db.exec(fmt.Sprintf("insert into w values (%d)", id), writeWithin); err != nil {
			db.close()
			db = nil
			continue
		}
		w.acknowledge(head, id)
	}
	if db != nil {
		db.close()
	}
}

func (w *writer) next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	return w.last
}

func (w *writer) acknowledge(head string, id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = append(w.acked, id)
	w.by[head]++
}

func (w *writer) acknowledged() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acked)
}

func (w *writer) tried() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// await waits until a head has acknowledged some more writes.
func (w *writer) await(t *testing.T, head string, more int) {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.by[head]
	}
	want := count() + more
	eventually(t, bootTime, fmt.Sprintf("%d writes to %s", more, head), func(context.Context) error {
		if n := count(); n < want {
			return fmt.Errorf("%d of %d", n, want)
		}
		return nil
	})
}
