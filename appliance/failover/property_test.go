package failover

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// randomView is anything that a head could see, and much that it could not.
func randomView(t *rapid.T, v *View, now Instant) {
	epoch := rapid.Custom(func(t *rapid.T) Epoch { return Epoch(rapid.Uint64Range(0, 5*MaxHeads+3).Draw(t, "epoch")) })
	instant := rapid.Custom(func(t *rapid.T) Instant {
		return now + Instant(rapid.Int64Range(-3000, 1000).Draw(t, "ms"))*time.Millisecond
	})
	past := rapid.Custom(func(t *rapid.T) Instant { return min(now, instant.Draw(t, "past")) })
	reading := rapid.SampledFrom([]Reading{Unknown, Up, Down})
	yes := rapid.Bool()
	rarely := rapid.Custom(func(t *rapid.T) bool { return rapid.IntRange(0, 9).Draw(t, "one in ten") == 0 })
	data := rapid.SampledFrom([]Data{NoData, NoData, DataUpToDate, DataUpToDate, DataSyncing, DataOutdated, DataUnknown, DataDiverged, DataAlone})
	volumes := rapid.Custom(func(t *rapid.T) Volumes { return Volumes(rapid.Uint64Range(0, 3).Draw(t, "volumes")) })
	words := func(s string) string {
		if rarely.Draw(t, s) {
			return s
		}
		return ""
	}

	v.RecordErr = words("no space left on device")
	v.Self.Unhealthy = words("a monitor asks for a failover")
	v.Self.Barred = words("it is being taken out of the cluster")
	v.Self.Stopping = rarely.Draw(t, "stopping")
	v.Uplink = reading.Draw(t, "uplink")
	v.Data = data.Draw(t, "data")
	v.Parted, v.Older, v.Have = volumes.Draw(t, "parted"), volumes.Draw(t, "older"), volumes.Draw(t, "have")
	v.Services = rapid.SampledFrom([]Services{ServicesStopped, ServicesStopped, ServicesStarting, ServicesStarted, ServicesStarted, ServicesStopping, ServicesFailed, ServicesStopFailed}).Draw(t, "services")
	v.Probe = Probe{Rounds: rapid.IntRange(0, 6).Draw(t, "rounds"), VIP: rarely.Draw(t, "vip"), Peer: yes.Draw(t, "peer")}
	v.Policy.Loss = rapid.SampledFrom([]Loss{Safe, Available}).Draw(t, "loss")
	v.Policy.AloneAtBoot = yes.Draw(t, "alone")
	v.Wall = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "wall"), 0)

	kind := rapid.SampledFrom([]AuthorityKind{Single, Pair, Panel, Raft}).Draw(t, "kind")
	if rapid.IntRange(0, 3).Draw(t, "stay") > 0 {
		kind = v.Authority.Kind
	}
	v.Authority = Authority{Kind: kind, Known: epoch.Draw(t, "known"), Quorum: reading.Draw(t, "quorum"), Vouches: yes.Draw(t, "vouches"), Refused: words("old epoch")}
	if kind >= Panel && yes.Draw(t, "held") {
		v.Authority.Held, v.Authority.Until, v.Authority.Owner = v.Memory.Epoch, instant.Draw(t, "until"), v.Self.Name
		v.Authority.Grant = epoch.Draw(t, "grant")
	}
	if rarely.Draw(t, "solo") {
		v.Authority.Solo = time.Unix(1, 0)
	}
	v.Fencing = Fencing{Possible: yes.Draw(t, "fence"), State: rapid.SampledFrom([]FencingState{FenceIdle, FenceRunning, FenceProof, FenceFailed}).Draw(t, "fencing"), Since: past.Draw(t, "since")}
	if v.Fencing.State != FenceIdle {
		v.Fencing.Target = "head2"
	}
	switch rapid.IntRange(0, 3).Draw(t, "gate") {
	case 0:
		v.Gate = Gate{Open: true, Epoch: epoch.Draw(t, "gate's"), Until: instant.Draw(t, "open until")}
	case 1:
		v.Gate = Gate{Conflict: words("02:00:00:00:00:99")}
	}
	v.Operator = Operator{Promote: rarely.Draw(t, "promote"), Force: yes.Draw(t, "force"), Switch: words("*"), ConfirmDead: words("head2")}

	n := 1
	if kind == Raft {
		n = rapid.IntRange(1, 4).Draw(t, "peers")
	}
	if kind == Single {
		n = 0
	}
	v.Peers = nil
	for i := range n {
		p := Peer{Name: fmt.Sprintf("head%d", i+2), ID: i + 1}
		for k := range rapid.IntRange(0, 3).Draw(t, "links") {
			l := Link{Name: fmt.Sprint("link", k), Kind: LinkKind(k / 2), Heard: -1, Carrier: reading.Draw(t, "carrier"), HeardUs: reading.Draw(t, "heard us")}
			if yes.Draw(t, "heard") {
				l.Heard = past.Draw(t, "heard at")
			}
			p.Links = append(p.Links, l)
		}
		if rapid.IntRange(0, 4).Draw(t, "said") > 0 {
			p.Said = Said{
				BootID: rapid.Uint64Range(1, 3).Draw(t, "boot"), Gen: rapid.Uint64Range(0, 1).Draw(t, "gen"), Epoch: epoch.Draw(t, "said epoch"),
				Phase:  Phase(rapid.IntRange(0, len(phases)).Draw(t, "said phase")),
				Acting: epoch.Draw(t, "acting"), Released: epoch.Draw(t, "released"), Yields: epoch.Draw(t, "yields"),
				For: rapid.IntRange(-1, 3).Draw(t, "for"), Data: data.Draw(t, "said data"), Uplink: reading.Draw(t, "said uplink"),
				Unhealthy: rarely.Draw(t, "ill"), Leaving: rarely.Draw(t, "leaving"), Older: volumes.Draw(t, "said older"), Have: volumes.Draw(t, "said have"),
			}
			if yes.Draw(t, "agrees") {
				p.Said = Said{BootID: 1, Epoch: v.Record.Epoch, Yields: v.Memory.Epoch, Phase: Standby, Uplink: Up, For: -1, Data: p.Said.Data, Older: p.Said.Older}
			}
		}
		v.Peers = append(v.Peers, p)
	}
}

// kindView is a head for which all goes well: nothing is heard of the others, and nothing of its own fails.
func kindView(t *rapid.T, v *View, now Instant) {
	kind := v.Authority.Kind
	v.RecordErr, v.Self.Unhealthy, v.Self.Barred, v.Self.Stopping = "", "", "", false
	v.Uplink, v.Data, v.Operator = Up, NoData, Operator{}
	v.Probe, v.Policy.Loss = Probe{Rounds: 5}, Available
	v.Fencing = Fencing{Possible: rapid.Bool().Draw(t, "fence")}
	v.Services = ServicesStopped
	if v.Memory.Phase == Promote || v.Memory.Phase == Active {
		v.Services = ServicesStarted
	}
	v.Authority = Authority{Kind: kind}
	if kind >= Panel {
		v.Authority = Authority{Kind: kind, Quorum: Up, Vouches: true, Held: v.Memory.Epoch, Until: now + time.Second, Known: v.Memory.Epoch}
	}
	if kind == Raft {
		v.Authority.Grant = max(v.Record.Epoch, v.Memory.Epoch).Next(v.Self.ID)
	}
	v.Peers = nil
	if kind != Single {
		said := Said{BootID: 1, Epoch: v.Record.Epoch, Phase: Standby, Uplink: Up, For: -1}
		v.Peers = []Peer{{Name: "head2", ID: 1, Links: []Link{{Name: "nic0", Heard: max(0, now-time.Minute)}}, Said: said}}
	}
}

// Whatever it is shown: the same twice is answered the same, no gate is open without the record and the lease, no epoch goes
// down, and who is told that a person is needed is told what to type.
func TestDecideNever(t *testing.T) {
	var phase [len(phases)]int
	opened := 0
	rapid.Check(t, func(t *rapid.T) {
		v := View{Policy: Policy{Timing: Normal()}, Self: Self{Name: "head1", BootID: "b"}}
		v.Authority.Kind = rapid.SampledFrom([]AuthorityKind{Single, Pair, Panel, Raft}).Draw(t, "first kind")
		if rapid.Bool().Draw(t, "fast") {
			v.Policy.Timing = Fast()
		}
		now, calm := Instant(0), 0
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			if calm--; calm > 0 {
				now += 100 * time.Millisecond
				kindView(t, &v, now)
			} else {
				now += Instant(rapid.SampledFrom([]int{0, 1, 20, 20, 50, 50, 100, 100, 700, 12000}).Draw(t, "later")) * time.Millisecond
				switch rapid.IntRange(0, 9).Draw(t, "change") {
				case 0, 1, 2, 3:
					randomView(t, &v, now)
				case 4, 5, 6:
					kindView(t, &v, now)
				case 7:
					calm = 15
				}
			}
			if rapid.IntRange(0, 30).Draw(t, "restart") == 0 {
				v.Memory = Memory{}
			}
			peers := append([]Peer(nil), v.Peers...)
			d := Decide(v, now)
			if diff := cmp.Diff(d, Decide(v, now), cmp.Comparer(func(a, b Memory) bool { return a == b })); diff != "" {
				t.Fatalf("the same view, another decision:\n%s", diff)
			}
			if diff := cmp.Diff(peers, v.Peers); diff != "" {
				t.Fatalf("the view was changed:\n%s", diff)
			}
			lawful(t, v, now, d)
			phase[d.Memory.Phase]++
			v.Memory = d.Memory
			if v.RecordErr == "" {
				v.Record = d.Record
			}
			v.Gate = Gate{}
			if d.Gate.Open {
				opened++
				v.Gate = d.Gate
			}
		}
	})
	seen := 0
	for _, n := range phase {
		if n > 0 {
			seen++
		}
	}
	if seen < 8 || opened == 0 {
		t.Errorf("%d phases and %d open gates: what was shown is too dull", seen, opened)
	}
}

type fataler interface{ Fatalf(string, ...any) }

func lawful(t fataler, v View, now Instant, d Decision) {
	m := d.Memory
	switch g := d.Gate; {
	case !g.Open:
	case v.Record.Epoch != g.Epoch || v.Record.Owner != v.Self.Name:
		t.Fatalf("a gate for epoch %v, and the disk has %+v", g.Epoch, v.Record)
	case d.Record.Epoch != g.Epoch || d.Record.Owner != v.Self.Name:
		t.Fatalf("a gate for epoch %v, and the disk is to have %+v", g.Epoch, d.Record)
	case g.Until <= now || g.Until > now+v.Policy.Timing.Gate:
		t.Fatalf("a gate until %v, at %v", g.Until, now)
	case m.Phase != Active || d.Services != Run || d.Want != g.Epoch || d.Say.Acting != g.Epoch || d.Reset != "":
		t.Fatalf("a gate, and %+v", d)
	case v.Authority.Kind >= Panel && !m.own && !m.resumed && (v.Authority.Held != g.Epoch || v.Authority.Until < g.Until):
		t.Fatalf("a gate until %v without a lease: %+v", g.Until, v.Authority)
	}
	switch {
	case d.Record.Epoch < v.Record.Epoch:
		t.Fatalf("the epoch goes down: %+v, %+v", v.Record, d.Record)
	case d.Services == Run && m.Phase != Promote && m.Phase != Active:
		t.Fatalf("services run in %v", m.Phase)
	case d.Say.Acting != 0 && d.Say.Yields != 0:
		t.Fatalf("acts and yields: %+v", d.Say)
	case m.Phase.Holds() && d.Fence == v.Self.Name:
		t.Fatalf("fences itself")
	case d.Why.Summary == "":
		t.Fatalf("no reason in %v", m.Phase)
	case m.Phase == Blocked && d.Why.Try == "":
		t.Fatalf("blocked, and nothing to type: %q", d.Why.Summary)
	case (m.Phase == Promote || m.Phase == Claim) && v.Memory.Phase != m.Phase && v.Self.Barred != "":
		t.Fatalf("barred, and in %v", m.Phase)
	case m.Phase == Promote && v.Memory.Phase != Promote && !v.Data.MayClaim() && !v.Operator.Force:
		t.Fatalf("promoted with data %v", v.Data)
	}
	for _, e := range d.Events {
		if e.Text == "" || len(e.Text) > 500 {
			t.Fatalf("event %q", e.Text)
		}
	}
	links := 0
	for _, p := range v.Peers {
		links += 1 + len(p.Links)
	}
	if len(d.Events) > 6+links {
		t.Fatalf("%d events of one decision: %+v", len(d.Events), d.Events)
	}
}

// An owner that follows nothing but its routine makes no garbage to speak of: it decides 40 times a second with its memory
// locked.
func TestAllocations(t *testing.T) {
	l := warm(t, Panel, 2, nic0, nic1, tty)
	for i, limit := range []float64{20, 20} {
		b := l.heads[i]
		if got := testing.AllocsPerRun(100, func() { Decide(b.View, l.now+step) }); got > limit {
			t.Errorf("%s allocates %v times", b.Self.Name, got)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	l := warm(b, Panel, 2, nic0, nic1, tty)
	for _, h := range l.heads {
		b.Run(h.phase().String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Decide(h.View, l.now+step)
			}
		})
	}
}
