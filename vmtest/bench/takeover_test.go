package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/vmtest/arena"
	"masthead/vmtest/arena/heads"
	"masthead/vmtest/prerequisite"
)

// envContenders are numbers of contenders, by commas: only they are measured.
const envContenders = "MASTHEAD_BENCH_CONTENDERS"

// contender is a program that keeps one address on one of two heads.
type contender interface {
	Machine(name string) *arena.Machine
	Close() error
	// start starts the program of a head in the boot that the head is in.
	start(head string) error
	// boot starts what runs on a head after its power came back.
	boot(head string) error
	// move is the planned switch, by the program's own command.
	move(from, to string) error
	// ready is nil when owner has the address and other would take it: as both are to be before a fault.
	ready(owner, other string) error
	// repair makes a head on which a fault has left nothing running, or the wrong thing, one that can be started.
	repair(head string) (started bool, err error)
	// log is the file of what a head says.
	log(head string) string
}

// entry is a contender of the table.
type entry struct {
	name  string
	open  func(dir string) (contender, error)
	every int           // measured in one of so many repetitions
	took  time.Duration // more than any takeover of it takes
	// coarse: a takeover takes seconds. It is measured while others are; the others have the stage for themselves.
	coarse bool
}

// Names of contenders.
const (
	ours    = "masthead"
	panel   = ours + ", panel"
	fast    = ours + ", panel, fast"
	fencing = ours + ", pair, fencing"
)

func entries(bin string) []entry {
	masthead := func(c heads.Config) func(string) (contender, error) {
		return func(dir string) (contender, error) {
			c.Program, c.Dir, c.Heads = bin, dir, 2
			return openMasthead(c)
		}
	}
	return []entry{
		{name: panel, open: masthead(heads.Config{Witnesses: 3}), every: 1, took: 5 * time.Second},
		{name: fast, open: masthead(heads.Config{Witnesses: 3, Document: "profile: fast\n"}), every: 1, took: 5 * time.Second},
		{name: fencing, open: func(dir string) (contender, error) { return openFencing(bin, dir) }, every: 1, took: 5 * time.Second},
		{name: "keepalived, 0.1 s", open: keepalived(100 * time.Millisecond), every: 1, took: 5 * time.Second},
		{name: "keepalived, 1 s", open: keepalived(time.Second), every: 1, took: 10 * time.Second, coarse: true},
		{name: "Heartbeat, 1 s", open: heartbeat3("keepalive 200ms\nwarntime 500ms\ndeadtime 1\ninitdead 3\n"), every: 1, took: 15 * time.Second, coarse: true},
		{name: "Heartbeat, 30 s", open: heartbeat3("keepalive 2\nwarntime 10\ndeadtime 30\ninitdead 30\n"), every: 10, took: 60 * time.Second, coarse: true},
	}
}

// fault is what is done to the owner.
type fault struct {
	name   string
	inject func(c contender, owner, other string) error
	// moves: the other head is to have the address afterwards.
	moves bool
	// quick: inject must not take long. A supervisor starts again what was killed at once.
	quick bool
	// after ends the fault, that long after it began.
	after time.Duration
	end   func(c contender, owner string) error
	heal  heal
}

// heal is what a person has to do afterwards.
type heal uint8

const (
	nothing heal = iota
	startProgram
	switchOn
)

const stopped = 5 * time.Second

var faults = []fault{
	{name: "planned switch", moves: true, inject: func(c contender, owner, other string) error { return c.move(owner, other) }},
	{name: "kill -9", moves: true, heal: startProgram, inject: func(c contender, owner, _ string) error { return c.Machine(owner).Signal(unix.SIGKILL) }},
	{name: "kill -9, restart", quick: true, inject: func(c contender, owner, _ string) error {
		if err := c.Machine(owner).Kill(); err != nil { // and waits
			return err
		}
		return c.start(owner)
	}},
	{name: "power cut", moves: true, heal: switchOn, inject: func(c contender, owner, _ string) error { return c.Machine(owner).PowerCut() }},
	{name: "SIGSTOP 5 s", after: stopped, inject: func(c contender, owner, _ string) error { return c.Machine(owner).Signal(unix.SIGSTOP) },
		end: func(c contender, owner string) error { return c.Machine(owner).Signal(unix.SIGCONT) }},
}

// BenchmarkTakeover moves one virtual address between two heads by a command and by faults, and measures from outside how
// long nobody answers for it, and how often two do (see the package comment).
func BenchmarkTakeover(b *testing.B) {
	bin := program(b)
	prerequisite.Root(b)
	prerequisite.Programs(b, "ip", "nft", "nsenter", "unshare", "keepalived", heartbeatProgram)
	var rigs []*rig
	only := strings.Split(os.Getenv(envContenders), ",")
	for i, e := range entries(bin) {
		if os.Getenv(envContenders) != "" && !slices.Contains(only, fmt.Sprint(i)) {
			continue
		}
		r, err := newRig(e, filepath.Join(b.TempDir(), fmt.Sprint(i)))
		if err != nil {
			b.Fatalf("%s: %v", e.name, err)
		}
		b.Cleanup(func() {
			if err := r.Close(); err != nil {
				b.Errorf("%s: take the arena down: %v", e.name, err)
			}
		})
		rigs = append(rigs, r)
	}
	table := newTakeovers()
	var stage sync.Mutex
	n := 0
	for b.Loop() {
		var all sync.WaitGroup
		for _, r := range rigs {
			if n%r.every != 0 {
				continue
			}
			all.Go(func() { r.round(b, n, &stage, table) })
		}
		all.Wait()
		if b.Failed() {
			break
		}
		n++
	}
	table.report(b, rigs)
}
