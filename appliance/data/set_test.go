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

	"go.uber.org/goleak"

	"masthead/appliance/failover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	return f.lvm == nil || f.lvm.group == nil || f.gi == "", nil
}

func (f *fakeDRBD) tools() Tools {
	long := func(ctx context.Context, argv ...string) error {
		_, err := f.run(ctx, nil, argv...)
		return err
	}
	return Tools{f.run, long, f.watch, func(string) (string, error) { return Btrfs, nil }, f.blank, func(string) bool { return f.mounted }}
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
	f.lines <- fmt.Sprintf("change resource name:data role:%s suspended:%s", c.Role, c.Suspended)
	f.lines <- fmt.Sprintf("change connection name:data connection:%s role:%s", c.Connection, c.PeerRole)
	f.lines <- fmt.Sprintf("change device name:data volume:0 disk:%s size:%d", c.Disk, c.Size)
	f.lines <- fmt.Sprintf("change peer-device name:data volume:0 replication:%s peer-disk:%s", c.Replication, c.PeerDisk)
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
		return strings.HasPrefix(s, "get-gi") || strings.HasPrefix(s, "disk-options") || strings.HasSuffix(s, releaseMetadata)
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
	var err error
	b.Set, err = New(Config{
		Resources: r, Self: "head1", Dir: filepath.Join(dir, "run"), Tools: b.drbd.tools(), Now: func() failover.Instant { return time.Since(b.began) },
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
	for _, line := range append(exists, "exists -") {
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
	return b
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

// Who waits for a Set that another configuration replaces is told so, and asks the next one.
func TestSetEnds(t *testing.T) {
	b := newBench(t)
	b.see(nil)
	done := make(chan error, 1)
	go func() { done <- b.Promote(t.Context(), "data") }()
	b.until(t, "waits for the other copy", func() bool { return strings.Contains(b.volumes[0].why, "the volume is new") })
	b.cancel()
	if err := <-done; !errors.Is(err, ErrEnded) {
		t.Errorf("a promotion: %v", err)
	}
	if err := b.Demote(t.Context(), "data"); !errors.Is(err, ErrEnded) {
		t.Errorf("a later demotion: %v", err)
	}
}

// What a takeover needs of the kernel is there before it.
func TestSetLoads(t *testing.T) {
	b := newBench(t)
	for _, want := range []string{"drbd", Btrfs} {
		select {
		case got := <-b.loaded:
			if got != want {
				t.Errorf("loads %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("never loads %s", want)
		}
	}
}

// A blank device becomes a copy, and the volume begins when the other head has a blank one too.
func TestSetBegins(t *testing.T) {
	b := newBench(t)
	b.see(nil)
	b.until(t, "given to the kernel", func() bool { return b.look().Copy.Disk == inconsistent })
	if got := b.Standing(b.view).Data; got != failover.NoData {
		t.Errorf("a blank copy counts as %v", got)
	}
	done := make(chan error, 1)
	go func() { done <- b.Promote(t.Context(), "data") }()
	b.until(t, "waits for the other copy", func() bool { return strings.Contains(b.volumes[0].why, "the volume is new") })
	b.drbd.become(func(c *Copy) {
		c.Connection, c.PeerRole, c.PeerDisk, c.Replication = "Connected", secondary, inconsistent, "Established"
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want := []string{"create-md --force data", "up data", "primary --force data"}
	if got := b.drbd.commands(); !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}

// A head that is the only one needs nobody to begin, and connects to nobody.
func TestSetAlone(t *testing.T) {
	b := newBenchOf(t, 1)
	b.see(func(v *View) { v.Peer = PeerView{} })
	if err := b.Promote(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	want := []string{"create-md --force data", "new-resource data", "new-minor data", "attach data", "primary --force data"}
	if got := b.drbd.commands(); !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}

const (
	isResource = "exists resource name:data role:Secondary suspended:no"
	isDevice   = "exists device name:data volume:0 minor:0 disk:UpToDate size:1000"
	isThere    = "exists connection name:data connection:Connected role:Primary"
	isPeer     = "exists peer-device name:data volume:0 replication:Established peer-disk:UpToDate"
)

func following(t *testing.T) *bench {
	b := newBench(t, isResource, isThere, isDevice, isPeer)
	b.drbd.mu.Lock()
	b.drbd.copy, b.drbd.gi = connected(secondary, primary), "AB00000000000001"
	b.drbd.mu.Unlock()
	b.see(func(v *View) { v.Record.Owner = "head2" })
	b.until(t, "follows", func() bool { return b.look().Note.Epoch == first })
	return b
}

// A takeover: the dead owner is disconnected, DRBD asks, and the word comes.
func TestSetTakesOver(t *testing.T) {
	b := following(t)
	asked := make(chan struct{}, 1)
	b.drbd.fencePeer = func() int {
		notify(asked)
		code, _, err := b.Ask(t.Context(), "data")
		if err != nil {
			t.Error(err)
		}
		return code
	}
	dead := func(v *View) { v.Peer.Alive = false }
	b.see(dead)
	done := make(chan error, 1)
	go func() { done <- b.Promote(t.Context(), "data") }()
	<-asked
	select {
	case err := <-done:
		t.Fatalf("it did not wait for the word: %v", err)
	case <-time.After(50 * time.Millisecond): // nothing tells that nothing happens
	}
	if got := b.Standing(b.view).Data; got != failover.DataAlone {
		t.Errorf("a copy that is to be written to without the other one counts as %v", got)
	}
	b.see(func(v *View) { dead(v); v.Word = failover.Word{Go: true, How: "fenced"} })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.until(t, "connects again", func() bool { return b.look().Copy.Connection == "Connecting" })
	want := []string{"disconnect --force data", "primary data", "connect data"}
	if got := b.drbd.commands(); !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}

// A word from before the question does not count: the daemon may have stood still between.
func TestAskWantsANewWord(t *testing.T) {
	b := following(t)
	b.drbd.become(func(c *Copy) { *c = lost(connected(primary, secondary), upToDate, "DUnknown") })
	b.until(t, "lost", func() bool { return b.look().Copy.Role == primary && !b.look().Copy.Connected() })
	b.see(func(v *View) { v.Word = failover.Word{Go: true, How: "old"} })
	old := b.Standing(b.view).Lost
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if code, why, err := b.Ask(ctx, "data"); code != ExitUnknown || err != nil {
		t.Errorf("an old word gave %d, %q, %v", code, why, err)
	}
	if b.Standing(b.view).Lost <= old {
		t.Error("the question does not count as a loss of the other copy")
	}
	answer := make(chan int, 1)
	go func() {
		code, _, _ := b.Ask(t.Context(), "data")
		answer <- code
	}()
	before := b.Standing(b.view).Lost
	b.until(t, "asked", func() bool { return b.look().Lost > before })
	b.see(func(v *View) { v.Word = failover.Word{Go: true, Outdated: true, How: "new"} })
	if code := <-answer; code != ExitOutdated {
		t.Errorf("the new word gave %d", code)
	}
}

func TestAskEnds(t *testing.T) {
	for name, change := range map[string]func(*Copy){
		"connected again": func(c *Copy) { *c = connected(primary, secondary) },
		"given up":        func(c *Copy) { c.Role = secondary },
	} {
		b := following(t)
		b.drbd.become(func(c *Copy) { *c = lost(connected(primary, secondary), upToDate, "DUnknown") })
		b.until(t, "lost", func() bool { return b.look().Copy.Role == primary && !b.look().Copy.Connected() })
		answer := make(chan int, 1)
		before := b.Standing(b.view).Lost
		go func() {
			code, _, _ := b.Ask(t.Context(), "minor-0")
			answer <- code
		}()
		b.until(t, "asked", func() bool { return b.look().Lost > before })
		b.drbd.become(change)
		if code := <-answer; code != ExitUnknown {
			t.Errorf("%s: got %d", name, code)
		}
	}
}

// What cannot be demoted is not said to be.
func TestDemoteFails(t *testing.T) {
	b := following(t)
	b.drbd.become(func(c *Copy) { *c = connected(primary, secondary) })
	b.until(t, "owns", func() bool { return b.look().Copy.Role == primary })
	b.drbd.mu.Lock()
	b.drbd.held = errors.New("Device is held open by someone")
	b.drbd.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Demote(ctx, "data"); err == nil || !strings.Contains(err.Error(), "held open") {
		t.Errorf("a demotion that failed gave %v", err)
	}
}

// Divergence outlives the daemon, and nothing connects what has diverged.
func TestDiverged(t *testing.T) {
	b := following(t)
	b.drbd.become(func(c *Copy) { *c = lost(*c, upToDate, "DUnknown") })
	if err := b.Tell(t.Context(), "split-brain", "data"); err != nil {
		t.Fatal(err)
	}
	b.drbd.become(func(c *Copy) { c.Connection = "StandAlone" })
	b.until(t, "keeps both", func() bool { return strings.Contains(b.volumes[0].why, "a person says") })
	if got := b.Standing(b.view).Data; got != failover.DataDiverged {
		t.Errorf("counts as %v", got)
	}
	if n := b.readNote("data"); !n.Diverged {
		t.Errorf("the next daemon would read %+v", n)
	}
	if got := b.drbd.commands(); len(got) > 0 {
		t.Errorf("commands %q", got)
	}
	if does, err := b.Change(t.Context(), "data", "discard", false); err != nil {
		t.Fatalf("%s: %v", does, err)
	}
	want := []string{"disconnect data", "connect --discard-my-data data"}
	if got := b.drbd.commands(); !slices.Equal(got, want) || b.readNote("data").Diverged {
		t.Errorf("commands %q, want %q; note %+v", got, want, b.readNote("data"))
	}
}
