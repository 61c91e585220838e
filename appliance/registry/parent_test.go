package registry

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/node/wire"
)

// boots lets a machine come up at a head.
func boots(t *testing.T, r *Registry, n int, boot string) {
	t.Helper()
	if _, err := r.Hello(t.Context(), wire.Hello{Boot: boot, MAC: mac(n), Role: "worker"}, here, time.Now()); err != nil {
		t.Fatal(err)
	}
	reports(t, r, n, boot)
}

func reports(t *testing.T, r *Registry, n int, boot string) {
	t.Helper()
	rep := wire.Report{Boot: boot, MAC: mac(n), Uptime: 20, Stages: results("mounts", "up"), Root: &wire.RootStatus{Chunks: 4, Present: 4, Source: "x"}}
	if err := r.Report(rep, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func node(t *testing.T, r *Registry, name string) wire.Node {
	t.Helper()
	n, err := r.Node(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (c *cluster) settle() {
	time.Sleep(2*sweepEvery + 100*time.Millisecond)
	synctest.Wait()
}

// Every head shows the same, whichever of them a node reports to; and a dead head's nodes are down only if they find no
// other.
func TestParent(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one, two, three := c.reg["head1"], c.reg["head2"], c.reg["head3"]
		for i, name := range []string{"n01", "n02", "n03", "n04"} {
			add(t, one, name, i+1)
		}
		synctest.Wait()
		boots(t, one, 1, "b1")
		boots(t, one, 2, "b2")
		boots(t, two, 3, "b3")
		boots(t, one, 4, "b4")
		same := func(when string) {
			t.Helper()
			c.settle()
			want, err := one.List("", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []*Registry{two, three} {
				got, _ := r.List("", time.Now())
				if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(wire.Node{}, "Seen")); diff != "" {
					t.Errorf("%s: %s shows another list than head1:\n%s", when, r.conf.Head, diff)
				}
			}
		}
		same("after the boots")
		if n := node(t, three, "n01"); n.Head != "head1" || n.Phase != wire.PhaseUp || n.RootState == nil {
			t.Errorf("n01 at head3: %+v", n)
		}
		if got := list2(three, "head=head1"); got != "n01 n02 n04" {
			t.Errorf("head=head1: %s", got)
		}

		// n02 falls silent, the others go on.
		for range 5 {
			time.Sleep(10 * time.Second)
			reports(t, one, 1, "b1")
			reports(t, two, 3, "b3")
			reports(t, one, 4, "b4")
		}
		same("one silent")
		if n := node(t, three, "n02"); n.Phase != wire.PhaseDown {
			t.Errorf("a silent node at head3: %s", n.Phase)
		}
		why, _ := three.Why("n02", time.Now())
		if !strings.Contains(why.Verdict, "has been silent for") {
			t.Errorf("why, at head3: %s", why.Verdict)
		}

		// head1 dies.
		c.part("head1")
		reports(t, two, 3, "b3")
		reports(t, two, 4, "b4") // finds another at once, long before head1 misses it
		c.settle()
		if n := node(t, two, "n01"); n.Phase != wire.PhaseUp {
			t.Errorf("a node whose head died just now is %s", n.Phase)
		}
		for range 3 {
			time.Sleep(10 * time.Second)
			reports(t, two, 3, "b3")
			reports(t, two, 4, "b4")
		}
		time.Sleep(5 * time.Second)
		c.settle()
		if n := node(t, one, "n04"); n.Phase != wire.PhaseDown || n.Head != "head1" {
			t.Errorf("n04 at head1: %+v", n)
		}
		for _, r := range []*Registry{two, three} {
			why, err := r.Why("n01", time.Now())
			if err != nil || why.Node.Phase != wire.PhaseDown || !strings.Contains(why.Verdict, "its head head1 is dead and it has not found another") {
				t.Errorf("%s, after %v: %s: %s", r.conf.Head, orphanAfter, why.Node.Phase, why.Verdict)
			}
			if last := r.Log().Last(1); len(last) != 1 || last[0].Node != "n01" || last[0].Text != "is down: its head head1 is dead and it has not found another" {
				t.Errorf("%s: last event %+v", r.conf.Head, last)
			}
		}
		reports(t, two, 1, "b1") // without a hello: its boot is known
		c.settle()
		if n := node(t, three, "n01"); n.Head != "head2" || n.Phase != wire.PhaseUp {
			t.Errorf("n01 at head3: %+v", n)
		}
		if text := eventText(two, "n01"); !strings.Contains(text, "now served by head2, before by head1, which is dead") {
			t.Errorf("events of n01 at head2:\n%s", text)
		}

		// head1 was only cut off. It has called n01 down meanwhile, and learns better.
		if n := node(t, one, "n01"); n.Phase != wire.PhaseDown || n.Head != "head1" {
			t.Errorf("n01 at head1: %+v", n)
		}
		c.join()
		reports(t, two, 1, "b1")
		reports(t, two, 3, "b3")
		same("after the merge")
		for _, name := range []string{"n01", "n04"} {
			if n := node(t, one, name); n.Head != "head2" || n.Phase != wire.PhaseUp {
				t.Errorf("%s at head1: %+v", name, n)
			}
		}

		// And back.
		reports(t, one, 1, "b1")
		same("moved back")
		if n := node(t, two, "n01"); n.Head != "head1" || n.Phase != wire.PhaseUp {
			t.Errorf("n01 at head2: %+v", n)
		}
	})
}

func list2(r *Registry, set string) string {
	nodes, _ := r.List(set, time.Now())
	return strings.Join(names(nodes), " ")
}

func eventText(r *Registry, node string) string {
	var all []string
	for _, e := range r.Log().Last(1000) {
		if e.Node == node {
			all = append(all, e.Text)
		}
	}
	return strings.Join(all, "\n")
}

// All heads hear a request for an address; the one that serves the files is the parent, and has the whole way.
func TestBootThroughOneOfTwo(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one, two := c.reg["head1"], c.reg["head2"]
		add(t, one, "n01", 1)
		synctest.Wait()
		boots(t, one, 1, "b1")
		c.settle()
		for _, r := range []*Registry{one, two} {
			if err := r.Observe(mac(1), results("dhcp")[0], time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		c.settle()
		for _, r := range []*Registry{one, two} {
			if n := node(t, r, "n01"); n.Phase != wire.PhaseBooting || n.Head != "head1" {
				t.Errorf("%s, after a request that both hear: %+v", r.conf.Head, n)
			}
		}
		for _, s := range results("tftp", "script", "kernel", "initramfs") {
			time.Sleep(time.Second)
			if err := two.Observe(mac(1), s, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		c.settle()
		for _, r := range []*Registry{one, two} {
			if n := node(t, r, "n01"); n.Phase != wire.PhaseBooting || n.Stage != wire.StageInitramfs || n.Head != "head2" {
				t.Errorf("%s: %+v", r.conf.Head, n)
			}
		}
		boots(t, one, 1, "b2") // its list of heads starts with the other
		c.settle()
		for _, r := range []*Registry{one, two} {
			why, err := r.Why("n01", time.Now())
			if err != nil || why.Node.Phase != wire.PhaseUp || why.Node.Head != "head1" || len(why.Stages) != 7 || why.Boot != "b2" {
				t.Errorf("%s: %+v, %v", r.conf.Head, why, err)
			}
		}
	})
}

// A head that was restarted does not call the nodes down that it has not heard of yet, nor write them all.
func TestRestartedHeadWaits(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, dirs...)
		defer c.stop()
		one := c.reg["head1"]
		add(t, one, "n01", 1)
		boots(t, one, 1, "b1")
		for range 30 {
			time.Sleep(10 * time.Second)
			reports(t, one, 1, "b1")
		}
		again := c.open(t, "head1")
		if n := node(t, again, "n01"); n.Phase != wire.PhaseUp {
			t.Errorf("after a restart: %+v", n)
		}
		again.Sweep(time.Now())
		if u := again.unsaved(); len(u) != 0 {
			t.Errorf("%d boots to write", len(u))
		}
		time.Sleep(DownAfter + time.Second)
		if n := node(t, again, "n01"); n.Phase != wire.PhaseDown {
			t.Errorf("silent after a restart: %+v", n)
		}
	})
}

// Ten thousand nodes that go on as they were cost the state nothing.
func TestReportsWriteNothing(t *testing.T) {
	const nodes = 10_000
	store := &countingStore{Store: openState(t, t.TempDir())}
	now := start
	r, err := New(Config{Store: store, Image: resolveTest, Head: "head-1", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	manyNodes(t, store, r, nodes)
	report := func(stages ...string) {
		for i := range nodes {
			rep := wire.Report{Boot: "1", MAC: mac(i), Uptime: now.Sub(start).Seconds(), Stages: results(stages...), Running: imageA,
				Root: &wire.RootStatus{Source: fmt.Sprint(now), BytesFetched: now.Unix(), Chunks: 4, Present: 4}}
			if err := r.Report(rep, now); err != nil {
				t.Fatal(err)
			}
		}
		r.Sweep(now)
		if err := r.SaveSummaries(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	report("mounts", "up")
	if store.boots != nodes {
		t.Fatalf("%d boots written, want %d", store.boots, nodes)
	}
	before := store.writes
	for range 6 {
		now = now.Add(10 * time.Second)
		report("mounts", "up")
	}
	if store.writes != before {
		t.Errorf("a minute of %d nodes' reports cost %d writes", nodes, store.writes-before)
	}
	now = now.Add(DownAfter + time.Second)
	r.Sweep(now)
	if err := r.SaveSummaries(t.Context()); err != nil || store.writes != before+1 || store.boots != 2*nodes {
		t.Errorf("that all went silent cost %d writes of %d boots, %v", store.writes-before, store.boots-nodes, err)
	}
}
