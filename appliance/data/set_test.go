package data

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"masthead/appliance/failover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	answer := b.asked(t, "data")
	b.see(func(v *View) { v.Word = failover.Word{Go: true, Outdated: true, How: "new"} })
	if code := <-answer; code != ExitOutdated {
		t.Errorf("the new word gave %d", code)
	}
}

// DRBD may ask before its events tell that the connection is lost. An answer of then would be the last one, and writes would wait
// for ever.
func TestAskBeforeTheEvents(t *testing.T) {
	b := following(t)
	b.drbd.become(func(c *Copy) { *c = connected(primary, secondary) })
	b.until(t, "owns", func() bool { return b.look().Copy.Role == primary })
	b.drbd.mu.Lock()
	b.drbd.copy = lost(b.drbd.copy, upToDate, "DUnknown")
	b.drbd.mu.Unlock()
	answer := b.asked(t, "data")
	select {
	case code := <-answer:
		t.Fatalf("answered %d by what the kernel had said before", code)
	case <-time.After(50 * time.Millisecond): // nothing tells that nothing happens
	}
	b.drbd.become(func(*Copy) {})
	b.until(t, "lost", func() bool { return !b.look().Copy.Connected() })
	b.see(func(v *View) { v.Word = failover.Word{Go: true, How: "fenced"} })
	if code := <-answer; code != ExitFenced {
		t.Errorf("got %d, want the word", code)
	}
}

// The copies were parted and connected again before the question came in: nobody waits for anything.
func TestAskTooLate(t *testing.T) {
	b := following(t)
	b.drbd.become(func(c *Copy) { *c = connected(primary, secondary) })
	b.until(t, "owns", func() bool { return b.look().Copy.Role == primary })
	if code, why, err := b.Ask(t.Context(), "data"); code != ExitUnknown || err != nil || !strings.Contains(why, "connected again") {
		t.Errorf("got %d, %q, %v", code, why, err)
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
		answer := b.asked(t, "minor-0")
		b.drbd.become(change)
		if code := <-answer; code != ExitUnknown {
			t.Errorf("%s: got %d", name, code)
		}
	}
}

// A daemon that starts when the kernel asks knows nothing yet: that is no answer.
func TestAskBeforeDRBDHasSaid(t *testing.T) {
	b := &bench{drbd: &fakeDRBD{lines: make(chan string, 100), copy: lost(connected(primary, secondary), upToDate, "DUnknown")}, loaded: make(chan string, 10), began: time.Now()}
	r := pair()
	r.Volumes = r.Volumes[:1]
	b.begin(t, r, t.TempDir())
	b.see(nil)
	type answer struct {
		code int
		err  error
	}
	answers := make(chan answer, 1)
	ask := func() {
		code, _, err := b.Ask(t.Context(), "data")
		answers <- answer{code, err}
	}
	go ask()
	select {
	case a := <-answers:
		t.Fatalf("answered %+v before DRBD had said anything", a)
	case <-time.After(50 * time.Millisecond): // nothing tells that nothing happens
	}
	for _, line := range []string{strings.Replace(isResource, "Secondary suspended:no", "Primary suspended:fencing", 1), isDevice,
		"exists connection name:data connection:Connecting role:Unknown", "exists peer-device name:data volume:0 replication:Off peer-disk:DUnknown", "exists -"} {
		b.drbd.lines <- line
	}
	b.until(t, "said", func() bool { return b.look().Copy.Role == primary })
	b.see(func(v *View) { v.Word = failover.Word{Go: true, How: "fenced"} })
	if a := <-answers; a.code != ExitFenced || a.err != nil {
		t.Errorf("got %+v", a)
	}
	b.see(nil)
	go ask()
	b.cancel() // another configuration
	if a := <-answers; !errors.Is(a.err, ErrEnded) {
		t.Errorf("one that has ended answered %+v", a)
	}
}

// What DRBD needs may be missing at first.
func TestSetBeginsLate(t *testing.T) {
	b := &bench{drbd: &fakeDRBD{lines: make(chan string, 100)}, began: time.Now()}
	fails := 1
	r := pair()
	r.Volumes = r.Volumes[:1]
	s, err := New(Config{
		Resources: r, Self: "head1", Dir: t.TempDir(), Tools: b.drbd.tools(), Now: func() failover.Instant { return time.Since(b.began) },
		Load: func(name string) error {
			if name == "drbd" && fails > 0 {
				fails--
				return errors.New("no such module")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Set = s
	b.drbd.lines <- "exists -"
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.until(t, "has said", func() bool { return s.ready })
	if text := b.Volumes()[0].Trouble; text != "" {
		t.Errorf("its trouble is over: %q", text)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A program that was killed between the steps of `up` leaves a resource without a device.
func TestHalfUp(t *testing.T) {
	b := newBench(t, isResource, "exists connection name:data connection:Connecting role:Unknown")
	b.drbd.mu.Lock()
	b.drbd.copy, b.drbd.gi = Copy{There: true, Role: secondary}, "AB00000000000001"
	b.drbd.mu.Unlock()
	b.see(nil)
	b.until(t, "seen", func() bool { return b.volumes[0].step == Down || b.volumes[0].half > 0 })
	if got := b.drbd.commands(); len(got) > 0 {
		t.Errorf("commands %q though another program may still be at it", got)
	}
	b.mu.Lock()
	b.volumes[0].half -= halfTime
	b.mu.Unlock()
	b.until(t, "whole", func() bool { return b.look().Copy.Disk != "" })
	if got, want := b.drbd.commands(), []string{"down data", "up data"}; !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
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

// The owner's copy goes on, tells a person once, and is connected again after a pause: the other head may not know of it.
func TestDivergedOwner(t *testing.T) {
	b := following(t)
	b.drbd.become(func(c *Copy) { *c = lost(connected(primary, secondary), upToDate, "DUnknown") })
	b.until(t, "owns alone", func() bool { return b.look().Copy.Role == primary && !b.look().Copy.Connected() })
	split := func() {
		for _, handler := range []string{"initial-split-brain", "split-brain"} {
			if err := b.Tell(t.Context(), handler, "minor-0"); err != nil {
				t.Fatal(err)
			}
		}
		b.drbd.become(func(c *Copy) { c.Connection = "StandAlone" })
		b.until(t, "says why it waits", func() bool { return b.look().Copy.StandsAlone() && b.volumes[0].why == ownSplit })
	}
	split()
	if got := b.Standing(b.view).Data; got != failover.DataAlone {
		t.Errorf("the owner's copy counts as %v", got)
	}
	if n := b.readNote("data"); !n.Diverged {
		t.Errorf("the next daemon would read %+v", n)
	}
	if got := b.drbd.commands(); len(got) > 0 {
		t.Errorf("commands %q", got)
	}
	b.see(func(v *View) { v.Now += splitAgain })
	b.until(t, "listens", func() bool { return b.look().Copy.Connection == "Connecting" })
	split()
	b.drbd.mu.Lock()
	told := slices.DeleteFunc(slices.Clone(b.drbd.told), func(s string) bool { return !strings.Contains(s, "written to by themselves") })
	b.drbd.mu.Unlock()
	if len(told) != 1 {
		t.Errorf("told %q, want it once", told)
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
