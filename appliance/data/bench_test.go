package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// fakeDRBD is the kernel and its programs for one volume: what it is told, and what it says of it.
type fakeDRBD struct {
	mu    sync.Mutex
	copy  Copy
	gi    string // what get-gi says; empty: no meta-data
	said  []string
	told  []string // events
	lines chan string
	// fencePeer is called for a promotion without the other copy, as the kernel calls its handler; nil: not asked.
	fencePeer func() int
	held      error // why a demotion fails
	unread    error // why nobody can look at the device
	apart     bool  // what is given to it does not see the other copy
	lvm       *fakeLVM
	failing   string // a program that fails
	sticks    string // the end of the name of a logical volume that cannot be removed
	mounted   bool
	around    func(line string) (after func()) // called for each program; nil: not
	tidied    chan struct{}                    // told of the last that tidy does
	frozen    bool                             // the file system
	refuses   int                              // so many times there is no memory for fsfreeze
}

func (f *fakeDRBD) blank(string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unread != nil {
		return false, f.unread
	}
	return f.lvm == nil || f.lvm.group == nil || f.gi == "", nil
}

func (f *fakeDRBD) tools() Tools {
	long := func(ctx context.Context, argv ...string) error {
		_, err := f.run(ctx, nil, argv...)
		return err
	}
	return Tools{f.run, long, f.watch, func(string) (string, error) { return Btrfs, nil }, f.blank, func(string) bool { return f.mounted }, f.inKernel}
}

func (f *fakeDRBD) watch(ctx context.Context, read func(io.Reader) error, _ ...string) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() { // ends with ctx, or when nobody reads
		defer close(done)
		defer w.Close()
		for {
			select {
			case line := <-f.lines:
				if _, err := io.WriteString(w, line+"\n"); err != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	err := read(r)
	r.Close()
	<-done
	return err
}

func (f *fakeDRBD) inKernel(int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.copy.There
}

// become changes the copy, and says so.
func (f *fakeDRBD) become(change func(*Copy)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.becomeLocked(change)
}

func (f *fakeDRBD) becomeLocked(change func(*Copy)) {
	change(&f.copy)
	c := f.copy
	if !c.There {
		f.lines <- "destroy resource name:data"
		return
	}
	for _, line := range eventsOf(c, "change") {
		f.lines <- line
	}
}

func eventsOf(c Copy, verb string) []string {
	return []string{
		fmt.Sprintf("%s resource name:data role:%s suspended:%s", verb, c.Role, c.Suspended),
		fmt.Sprintf("%s connection name:data connection:%s role:%s", verb, c.Connection, c.PeerRole),
		fmt.Sprintf("%s device name:data volume:0 disk:%s size:%d", verb, c.Disk, c.Size),
		fmt.Sprintf("%s peer-device name:data volume:0 replication:%s peer-disk:%s", verb, c.Replication, c.PeerDisk),
	}
}

func (f *fakeDRBD) run(_ context.Context, _ []string, argv ...string) (string, error) {
	f.mu.Lock()
	line := strings.Join(argv, " ")
	if argv[0] == "drbdadm" {
		line = strings.Join(argv[3:], " ")
	}
	f.said = append(f.said, line)
	if f.around != nil {
		around := f.around
		f.mu.Unlock()
		defer around(line)() // after all that is done below
		f.mu.Lock()
	}
	if argv[0] != "drbdadm" {
		defer f.mu.Unlock()
		if strings.HasSuffix(line, releaseMetadata) && f.lvm != nil {
			f.lvm.held = false
			notify(f.tidied)
		}
		if f.failing != "" && strings.HasPrefix(line, f.failing) {
			return "", errors.New(f.failing + " fails")
		}
		if line == "drbdsetup events2 --now data" {
			return strings.Join(append(eventsOf(f.copy, "exists"), "exists -\n"), "\n"), nil
		}
		if line == "drbdsetup down data" {
			f.becomeLocked(func(c *Copy) { *c = Copy{} })
			return "", nil
		}
		if argv[0] == "fsfreeze" {
			return "", f.freeze(argv[1] == "--freeze")
		}
		return f.runLVM(argv)
	}
	if argv[3] == "primary" && f.copy.Connection != "Connected" && f.fencePeer != nil {
		f.mu.Unlock()
		code := f.fencePeer() // which asks the owner daemon
		f.mu.Lock()
		if code != ExitFenced && code != ExitOutdated {
			f.mu.Unlock()
			return "", errors.New("Refusing to be Primary while peer is not outdated")
		}
		f.copy.PeerDisk = outdated
	}
	defer f.mu.Unlock()
	switch argv[3] {
	case "get-gi":
		if f.gi == "" {
			return "", errors.New("No valid meta data found")
		}
		return "   found __DRBD_NODE__ in environment\n" + f.gi + ":0:0:0:1:1:0\n", nil
	case "create-md":
		f.gi = newData
	case "--": // --force GENERATIONS set-gi
		f.gi = argv[5]
	case "up", "attach":
		switch {
		case f.gi != newData && f.apart:
			f.becomeLocked(func(c *Copy) { *c = lost(connected(secondary, secondary), consistent, "DUnknown"); c.Suspended = "no" })
			return "", nil
		case f.gi != newData:
			f.becomeLocked(func(c *Copy) { *c = connected(secondary, secondary); c.Suspended = "no" })
			return "", nil
		}
		f.becomeLocked(func(c *Copy) {
			*c = Copy{There: true, Role: secondary, Suspended: "no", Connection: "Connecting", PeerRole: "Unknown", Disk: inconsistent, PeerDisk: "DUnknown", Replication: "Off", Size: 1000}
		})
	case "primary":
		f.becomeLocked(func(c *Copy) { c.Role, c.Disk = primary, upToDate })
		f.gi = "AB00000000000001"
	case "secondary":
		if f.held != nil {
			return "", f.held
		}
		f.becomeLocked(func(c *Copy) { c.Role = secondary })
	case "disconnect":
		// The kernel's 8.4 forgets the connection.
		f.copy.Connection, f.copy.PeerRole, f.copy.PeerDisk, f.copy.Replication = "", "", "", ""
		f.lines <- "destroy peer-device name:data peer-node-id:0 conn-name:peer volume:0"
		f.lines <- "destroy connection name:data peer-node-id:0 conn-name:peer"
	case "down":
		f.becomeLocked(func(c *Copy) { *c = Copy{} })
	case "connect":
		f.becomeLocked(func(c *Copy) { c.Connection = "Connecting" })
	case "outdate":
		f.becomeLocked(func(c *Copy) { c.Disk = outdated })
	}
	return "", nil
}

// freeze has the file system stand still, or go on.
func (f *fakeDRBD) freeze(still bool) error {
	switch {
	case f.refuses > 0:
		f.refuses--
		return errors.New("fork/exec /usr/sbin/fsfreeze: cannot allocate memory")
	case still == f.frozen && still:
		return errors.New("fsfreeze: /run/masthead/data/data: freeze failed: Device or resource busy")
	case still == f.frozen:
		return errors.New("fsfreeze: /run/masthead/data/data: unfreeze failed: Invalid argument")
	}
	f.frozen = still
	return nil
}

// runLVM runs what is no program of DRBD.
func (f *fakeDRBD) runLVM(argv []string) (string, error) {
	switch {
	case f.lvm == nil || len(argv) < 2 || argv[1] != "--devices":
		return "", nil
	case argv[0] == "lvs" && (f.lvm.group == nil || argv[len(argv)-1] != f.lvm.group.Name):
		return "", errors.New("Volume group not found")
	case argv[0] == "vgs" || argv[0] == "lvs":
		return f.lvm.report(argv[0]), nil
	}
	if f.sticks != "" && argv[0] == "lvremove" && strings.HasSuffix(argv[len(argv)-1], f.sticks) {
		return "", errors.New("Logical volume contains a filesystem in use")
	}
	return "", f.lvm.do(slices.Concat(argv[:1], argv[5:]))
}

func (f *fakeDRBD) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.said), func(s string) bool {
		return strings.HasPrefix(s, "get-gi") || strings.HasPrefix(s, "drbdsetup events2") || strings.HasPrefix(s, "disk-options") || strings.HasSuffix(s, releaseMetadata)
	})
}

// bench is a Set on such a kernel.
type bench struct {
	*Set
	drbd   *fakeDRBD
	loaded chan string // modules
	began  time.Time
	cancel context.CancelFunc // ends Run
}

func newBench(t *testing.T, exists ...string) *bench {
	t.Helper()
	return newBenchOf(t, 2, exists...)
}

func newBenchOf(t *testing.T, heads int, exists ...string) *bench {
	t.Helper()
	return newBenchWith(t, heads, nil, exists...)
}

// newBenchWith is one that change may still change.
func newBenchWith(t *testing.T, heads int, change func(*Volume, *fakeDRBD), exists ...string) *bench {
	t.Helper()
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bench{drbd: &fakeDRBD{lines: make(chan string, 100)}, loaded: make(chan string, 10), began: time.Now()}
	r := Resources{
		Volumes: []Volume{{Name: "data", Device: disk}}, Secret: "0123456789abcdef", Freeze: true,
		Hosts: []Host{{"head1", 1, netip.MustParseAddr("10.77.0.1")}, {"head2", 2, netip.MustParseAddr("10.77.0.2")}},
	}
	r.Hosts = r.Hosts[:heads]
	if change != nil {
		change(&r.Volumes[0], b.drbd)
	}
	b.begin(t, r, filepath.Join(dir, "run"), append(exists, "exists -")...)
	return b
}

// begin runs a Set. The kernel has said what exists when one of those is "exists -".
func (b *bench) begin(t *testing.T, r Resources, dir string, exists ...string) {
	t.Helper()
	var err error
	b.Set, err = New(Config{
		Resources: r, Self: "head1", Dir: dir, Tools: b.drbd.tools(), Now: func() failover.Instant { return time.Since(b.began) },
		Event: func(text string, _ bool) {
			b.drbd.mu.Lock()
			defer b.drbd.mu.Unlock()
			b.drbd.told = append(b.drbd.told, text)
		},
		Load: func(name string) error {
			select {
			case b.loaded <- name:
			default: // nobody counts further
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range exists {
		b.drbd.lines <- line
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.cancel = cancel
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// see is a view of now.
func (b *bench) see(change func(*View)) {
	v := View{Record: failover.Record{Epoch: first, Owner: "head1"}, Peer: PeerView{Name: "head2", Alive: true, Heard: b.cfg.Now()}, Now: b.cfg.Now()}
	if change != nil {
		change(&v)
	}
	b.See(v, b.Standing(v).Lost)
}

// until waits for something that the set says.
func (b *bench) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !is() {
		if b.wait(ctx) != nil {
			t.Fatalf("%s: never; %+v, %q", what, b.volumes[0].look, b.drbd.commands())
		}
	}
}

func (b *bench) look() Look { return b.volumes[0].look }

// asked puts DRBD's question, and returns when it has come in. The answer is sent when there is one.
func (b *bench) asked(t *testing.T, resource string) (answer <-chan int) {
	t.Helper()
	before, codes := b.Standing(b.view).Lost, make(chan int, 1)
	go func() {
		code, _, _ := b.Ask(t.Context(), resource)
		codes <- code
	}()
	b.until(t, "asked", func() bool { return b.look().Lost > before })
	return codes
}
