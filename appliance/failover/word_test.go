package failover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The word that lets an owner write without the other copy of the data (I2, I4): case by case.
func TestWord(t *testing.T) {
	const (
		now   = 10 * time.Second
		lost  = 5 * time.Second
		mine  = Epoch(2*MaxHeads + 1)
		later = mine + MaxHeads + 1
	)
	solo := time.Unix(1000, 0)
	view := func(kind AuthorityKind, change func(*View)) View {
		v := View{
			Policy: Policy{Timing: Normal(), Loss: Safe}, Self: Self{Name: "head1", ID: 1, BootID: "boot"},
			Record: Record{Epoch: mine, Owner: "head1", BootID: "boot", SoloSince: solo}, Uplink: Up, Services: ServicesStarted,
			Data: DataAlone, DataLost: lost, Parted: 1, Authority: Authority{Kind: kind},
			Peers: []Peer{{Name: "head2", ID: 2, Said: Said{BootID: 1, For: -1}, Links: []Link{{Name: "nic0", Heard: lost - time.Second}}}},
		}
		if kind >= Panel {
			v.Authority.Held, v.Authority.Until, v.Authority.Quorum, v.Authority.Known = mine, now+time.Second, Up, mine
		}
		v.Memory = Memory{Phase: Active, Epoch: mine, begun: true, at: now - time.Millisecond, target: -1, fencing: -1, own: kind <= Pair, lease: now + time.Second, linked: mark{on: true}}
		if change != nil {
			change(&v)
		}
		return v
	}
	heard := func(v *View, said Said) {
		said.BootID, said.For = 1, -1
		v.Peers[0].Said, v.Peers[0].Links[0].Heard = said, now-10*time.Millisecond
	}
	tests := []struct {
		name   string
		kind   AuthorityKind
		change func(*View)
		want   Word
	}{
		{"pair: the other one is silent", Pair, nil, Word{}},
		{"pair: silent, available", Pair, func(v *View) { v.Policy.Loss = Available }, Word{Go: true}},
		{"pair: silent, available, and could be fenced", Pair, func(v *View) { v.Policy.Loss, v.Fencing.Possible = Available, true }, Word{}},
		{"pair: fenced", Pair, func(v *View) {
			v.Fencing = Fencing{Possible: true, Target: "head2", State: FenceProof, Since: now - time.Second}
		}, Word{Go: true}},
		{"pair: fencing fails", Pair, func(v *View) {
			v.Fencing = Fencing{Possible: true, Target: "head2", State: FenceFailed, Since: now - time.Second}
		}, Word{}},
		{"pair: it was fenced, and is heard since", Pair, func(v *View) {
			v.Fencing = Fencing{Possible: true, Target: "head2", State: FenceProof, Since: now - time.Second}
			heard(v, Said{Yields: mine})
		}, Word{}},
		{"pair: a person says that it is off", Pair, func(v *View) { v.Operator.ConfirmDead = "head2" }, Word{Go: true}},
		{"pair: it follows and its copy is outdated", Pair, func(v *View) { heard(v, Said{Yields: mine, Data: DataOutdated, Older: 1}) }, Word{Go: true, Outdated: true}},
		{"pair: it follows and its copy is not whole", Pair, func(v *View) { heard(v, Said{Yields: mine, Data: DataSyncing, Older: 1}) }, Word{Go: true, Outdated: true}},
		// The connection of volume 1 breaks while volume 0 is still brought up to date: the other copy of volume 1 is as new as any.
		{"pair: its copy of another volume is not whole", Pair, func(v *View) {
			v.Parted = 1 << 1
			heard(v, Said{Yields: mine, Data: DataSyncing, Older: 1 << 0, Have: 0b11})
		}, Word{}},
		{"pair: its copy of another volume is outdated", Pair, func(v *View) {
			v.Parted = 1 << 1
			heard(v, Said{Yields: mine, Data: DataOutdated, Older: 1 << 0, Have: 0b11})
		}, Word{}},
		{"pair: its copy of one of the volumes is outdated", Pair, func(v *View) {
			v.Parted = 0b11
			heard(v, Said{Yields: mine, Data: DataOutdated, Older: 1 << 0, Have: 0b11})
		}, Word{}},
		{"pair: its copies of all of them are outdated, and one that is connected is not", Pair, func(v *View) {
			v.Parted = 0b11
			heard(v, Said{Yields: mine, Data: DataOutdated, Older: 0b11, Have: 0b111})
		}, Word{Go: true, Outdated: true}},
		{"pair: the last volume there can be", Pair, func(v *View) {
			v.Parted = 1 << 63
			heard(v, Said{Yields: mine, Data: DataOutdated, Older: 1 << 63})
		}, Word{Go: true, Outdated: true}},
		{"pair: nobody knows which volume the word is for", Pair, func(v *View) {
			v.Parted = 0
			heard(v, Said{Yields: mine, Data: DataOutdated, Older: 1})
		}, Word{}},
		{"pair: its disk says that the copy is the older, and it reads otherwise", Pair, func(v *View) { heard(v, Said{Yields: mine, Data: DataUnknown, Older: 1}) }, Word{}},
		{"pair: it follows and its copy is up to date", Pair, func(v *View) { heard(v, Said{Yields: mine, Data: DataUpToDate}) }, Word{}},
		{"pair: its copy is outdated, and it does not follow", Pair, func(v *View) { heard(v, Said{Data: DataOutdated, Older: 1}) }, Word{}},
		{"pair: it said so before the copies were parted", Pair, func(v *View) {
			heard(v, Said{Yields: mine, Data: DataOutdated, Older: 1})
			v.DataLost = now - 5*time.Millisecond
		}, Word{}},
		{"pair: a lease that an old run of the daemon had", Pair, func(v *View) { v.Record.Epoch = mine - MaxHeads; v.Record.Owner = "head2" }, Word{}},

		{"panel: a live lease alone is not enough", Panel, nil, Word{}},
		{"panel: the voters knew before the copies were parted", Panel, func(v *View) { v.Authority.SoloKnown = lost - time.Second }, Word{}},
		{"panel: the voters know since", Panel, func(v *View) { v.Authority.SoloKnown = lost + time.Millisecond }, Word{Go: true}},
		{"panel: they know, and the disk does not", Panel, func(v *View) { v.Authority.SoloKnown, v.Record.SoloSince = lost+time.Millisecond, time.Time{} }, Word{}},
		{"panel: they know, and the lease has ended", Panel, func(v *View) { v.Authority.SoloKnown, v.Authority.Until = lost+time.Millisecond, now }, Word{}},

		{"pair: it is silent, and has no copy", Pair, func(v *View) { v.Peers[0].NoCopy = true }, Word{Go: true}},
		{"pair: a person has forced it, and its copy is older", Pair, func(v *View) {
			v.Memory.Phase, v.Memory.forced, v.Services, v.Data = Promote, true, ServicesStarting, DataOutdated
		}, Word{Go: true, Forced: true}},
		{"pair: a person has forced it, and its copy was up to date", Pair, func(v *View) {
			v.Memory.Phase, v.Memory.forced, v.Services, v.Data = Promote, true, ServicesStarting, DataUpToDate
		}, Word{}},
		{"pair: its copy is older, and nobody has forced it", Pair, func(v *View) {
			v.Memory.Phase, v.Services, v.Data = Promote, ServicesStarting, DataOutdated
		}, Word{}},
		{"pair: forced, and both have written", Pair, func(v *View) {
			v.Memory.Phase, v.Memory.forced, v.Services, v.Data = Promote, true, ServicesStarting, DataDiverged
		}, Word{}},
		{"pair: forced, and owns already", Pair, func(v *View) { v.Memory.forced, v.Data = true, DataOutdated }, Word{}},

		{"raft: the majority has granted it, and does not know that the copies were parted", Raft, func(v *View) { v.Memory.Phase, v.Services = Promote, ServicesStarting }, Word{}},
		{"raft: the majority knows since", Raft, func(v *View) {
			v.Memory.Phase, v.Services, v.Authority.SoloKnown = Promote, ServicesStarting, lost+time.Millisecond
		}, Word{Go: true}},
		{"raft: it wrote already, and the majority does not know that it goes on alone", Raft, nil, Word{}},

		{"not alone", Pair, func(v *View) { v.Data = DataUpToDate; v.Operator.ConfirmDead = "head2" }, Word{}},
		{"follows itself", Pair, func(v *View) { v.Memory.Phase = Standby; v.Operator.ConfirmDead = "head2" }, Word{}},
	}
	for _, tt := range tests {
		v := view(tt.kind, tt.change)
		got := Decide(v, now).Word
		if got.Go != tt.want.Go || got.Outdated != tt.want.Outdated || got.Yield != tt.want.Yield || got.Forced != tt.want.Forced || got.How == "" {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// An owner whose data has lost its other copy notes that at once, though the other head is heard: only then can the voters
// know of it.
func TestAloneIsSolo(t *testing.T) {
	l := warm(t, Panel, 2)
	for _, h := range l.heads {
		h.Data = DataUpToDate
	}
	l.run(2 * time.Second)
	h1 := l.heads[0]
	if !h1.Record.SoloSince.IsZero() {
		t.Fatalf("alone from the beginning: %s", l)
	}
	h1.Data = DataAlone
	l.run(100 * time.Millisecond)
	if h1.Record.SoloSince.IsZero() {
		t.Fatalf("its data is alone, and it is not: %s", l)
	}
	h1.Data = DataUpToDate
	l.run(2 * time.Second)
	if !h1.Record.SoloSince.IsZero() || h1.phase() != Active {
		t.Fatalf("its data has the other copy again: %s", l)
	}
}

// An owner whose writes wait: nobody waits without a person who knows, and where the other head can be fenced, it is.
func TestWritesWait(t *testing.T) {
	mails := func(b *box) (n int) {
		for _, e := range b.events {
			if e.Mail && strings.HasPrefix(e.Text, "head1: writes to the data wait: nothing proves that head2") {
				n++
			}
		}
		return n
	}
	l := warm(t, Panel, 2)
	for _, h := range l.heads {
		h.Data = DataUpToDate
	}
	l.run(2 * time.Second)
	h1, h2 := l.heads[0], l.heads[1]
	h2.powerOff()
	h1.Data, h1.DataWaits, h1.DataLost = DataAlone, true, l.now
	l.run(5 * time.Second)
	if w := h1.last.Word; w.Go || h1.phase() != Active || h1.last.Fence != "" {
		t.Fatalf("the voters have not said that they know: %+v %s", w, l)
	}
	if n := mails(h1); n != 1 {
		t.Errorf("%d mails that the writes wait, want 1: %+v", n, h1.events)
	}
	if try := h1.last.Why.Try; try != "masthead fence confirm-dead head2" {
		t.Errorf("try %q", try)
	}
	h1.Fencing.Possible = true
	l.run(time.Second)
	if w := h1.last.Word; !w.Go {
		t.Errorf("the other head could be fenced: %+v %s", w, l)
	}
	h1.DataWaits = false
	l.run(time.Second)
	if last := h1.events[len(h1.events)-1]; last.Text != "head1: writes to the data go on" {
		t.Errorf("the last event is %+v", last)
	}
}

// A head whose copy is not whole can not take over, so the owner has patience with it: most likely it is starting.
func TestOwnerIsPatient(t *testing.T) {
	for _, test := range []struct {
		name          string
		before, data  Data // since it has booted, and in the end
		waits         bool
		after, within time.Duration
	}{
		{"a copy that is up to date", DataSyncing, DataUpToDate, false, 0, time.Second},
		{"one that is brought up to date", DataUnknown, DataSyncing, false, Normal().Patience - time.Second, 2 * time.Second},
		{"one that is not there yet", DataUnknown, DataUnknown, false, Normal().Patience - time.Second, 2 * time.Second},
		{"one that was whole in this boot, and may be again", DataUpToDate, DataSyncing, false, 0, time.Second},
		{"one that is not whole, and writes wait for it", DataSyncing, DataSyncing, true, 0, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := warm(t, Pair, 2)
			h1, h2 := l.heads[0], l.heads[1]
			h1.Fencing.Possible, h1.Data, h2.Data = true, DataUpToDate, test.before
			h2.powerOff()
			l.run(100 * time.Millisecond)
			h2.start()
			l.run(3 * time.Second)
			h2.Data = test.data
			l.run(time.Second)
			h2.powerOff()
			h1.events = nil
			if test.waits {
				h1.Data, h1.DataWaits, h1.DataLost = DataAlone, true, l.now
			}
			l.run(test.after)
			if count(h1.events, "fences head2") != 0 {
				t.Errorf("%v are not over: %+v %s", test.after, h1.events, l)
			}
			l.run(test.within)
			if h1.phase() != Active || count(h1.events, "fences head2") != 1 {
				t.Errorf("%v later: %+v %s", test.within, h1.events, l)
			}
		})
	}
}

// Whatever is seen: there is no word but for an owner whose epoch is on the disk, and that is alone.
func TestWordIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v View
		v.Policy.Timing = Normal()
		v.Self = Self{Name: "head1", ID: 1, BootID: "boot"}
		v.Peers = []Peer{{Name: "head2", ID: 2}}
		now := Instant(time.Hour)
		for range rapid.IntRange(1, 20).Draw(t, "decisions") {
			randomView(t, &v, now)
			v.Data = rapid.SampledFrom([]Data{v.Data, DataAlone}).Draw(t, "alone")
			d := Decide(v, now)
			if w := d.Word; w.Go && (v.Data != DataAlone && !(w.Forced && !v.Data.MayClaim()) || d.Services != Run || v.Record.Epoch != d.Memory.Epoch || v.Record.Owner != "head1" || w.How == "") {
				t.Fatalf("the word %+v in phase %v with record %+v and data %v", w, d.Memory.Phase, v.Record, v.Data)
			}
			// DRBD notes for each volume that asks that the other copy is the older.
			if older := func(p Peer) bool { return v.Parted != 0 && v.Parted&^p.Said.Older == 0 }; d.Word.Outdated && !slices.ContainsFunc(v.Peers, older) {
				t.Fatalf("the word %+v for the volumes %b, and the others have older copies of other ones", d.Word, v.Parted)
			}
			v.Memory, v.Record = d.Memory, d.Record
			now += Instant(rapid.IntRange(1, 400).Draw(t, "ms")) * time.Millisecond
		}
	})
}
