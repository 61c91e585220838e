package ownership

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/data"
	"masthead/appliance/failover"
)

// What the voters know of this head itself takes nothing away from its copy: a claim of its own, which they know before it is
// on the disk, would else keep it from taking over.
func TestCopyView(t *testing.T) {
	own, other := failover.Epoch(0).Next(1), failover.Epoch(0).Next(2)
	d := &Daemon{zero: time.Now(), config: Config{
		Self: "head1", Heads: map[string]Head{"head1": {Number: 1}, "head2": {Number: 2}},
		document: configuration.Document{Data: []data.Volume{{Name: "data"}}},
	}}
	for _, tt := range []struct {
		name string
		a    failover.Authority
		want failover.Epoch
	}{
		{"nobody is asked", failover.Authority{Kind: failover.Pair}, 0},
		{"nobody has owned", failover.Authority{Kind: failover.Panel, Known: own}, 0},
		{"this head claims", failover.Authority{Kind: failover.Panel, Known: own, Owned: own}, 0},
		{"the other one has owned", failover.Authority{Kind: failover.Panel, Known: own.Next(1), Owned: other}, other},
	} {
		v := failover.View{Self: failover.Self{Name: "head1", ID: 1}, Authority: tt.a}
		got := d.copyView(&v)
		if got.Known != tt.want || got.Self != "head1" || got.Peer.Name != "head2" {
			t.Errorf("%s: got known %v, self %q, peer %q; want %v", tt.name, got.Known, got.Self, got.Peer.Name, tt.want)
		}
	}
}

// Of which volumes another head has data is what it says of each.
func TestCopyViewElsewhere(t *testing.T) {
	d := &Daemon{zero: time.Now(), config: Config{Self: "head3", Heads: map[string]Head{"head1": {Number: 1}, "head2": {Number: 2}, "head3": {Number: 3}}}}
	v := failover.View{Self: failover.Self{Name: "head3", ID: 3}, Peers: []failover.Peer{
		{Name: "head1", ID: 1, Said: failover.Said{BootID: 1, Data: failover.DataOutdated, Older: 0b1, Have: 0b100}},
		{Name: "head2", ID: 2, Said: failover.Said{BootID: 1, Data: failover.DataUpToDate, Have: 0b1000}},
	}}
	if got, want := d.copyView(&v).Elsewhere, failover.Volumes(0b1100); got != want {
		t.Errorf("got %b, want %b", got, want)
	}
}

// A service whose volume was never given to the kernel stops, and one of which that is not known does not.
func TestDemoteWithoutData(t *testing.T) {
	d := &Daemon{opts: Options{RunDir: t.TempDir()}, events: newEventLog(""), log: slog.New(slog.DiscardHandler), trouble: map[string]string{}}
	p := newParts(d)
	c := Config{Self: "head1", Heads: map[string]Head{"head1": {Number: 1}}}
	p.applyData(c)
	v := volumes{p}
	if err := v.Demote(t.Context(), "data"); err != nil {
		t.Error(err)
	}
	if is, err := v.Primary("data"); is || err != nil {
		t.Errorf("primary: %v, %v", is, err)
	}
	if err := v.Promote(t.Context(), "data"); !errors.Is(err, data.ErrNoVolume) {
		t.Errorf("a promotion: %v", err)
	}
	dir := d.runFile("data")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "volumes"), []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	p.applyData(c)
	if err := v.Demote(t.Context(), "data"); !errors.Is(err, data.ErrNoVolume) {
		t.Errorf("nobody knows what the kernel has: %v", err)
	}
}

// Both judges that have voters can say what those know.
var _ = [...]witnesses{panel{}, consensus{}}

// Other data are begun when those before have ended, however many came between, and nobody waits for that.
func TestReplaced(t *testing.T) {
	p := newParts(&Daemon{})
	held := make(chan struct{})
	var mu sync.Mutex
	var order []string
	run := func(name string, last *running, until chan struct{}) *running {
		return p.run(name, func(ctx context.Context) error {
			last.wait()
			<-until
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			<-ctx.Done()
			return nil
		})
	}
	open := make(chan struct{})
	close(open)
	first := run("first", nil, held) // a program of it waits for a device
	last := first.replaced(nil)
	second := run("second", last, open)
	last = second.replaced(last)
	third := run("third", last, open)
	close(held)
	third.stop()
	if want := []string{"first", "second", "third"}; !slices.Equal(order, want) {
		t.Errorf("ended in the order %q, want %q", order, want)
	}
	if last := (*running)(nil).replaced(second); last != second {
		t.Error("where nothing ran, what was waited for is forgotten")
	}
}
