package failover

import (
	"strings"
	"testing"
	"time"
)

// The standby was away while the owner wrote: the voters remember that, and its own copy says nothing.
func TestR5OlderThanKnown(t *testing.T) {
	l := newLab(t, Panel, 2)
	for _, b := range l.heads {
		b.Data = DataUpToDate
	}
	l.settle()
	h1, h2 := l.heads[0], l.heads[1]
	h2.powerOff()
	l.run(2 * time.Second)
	if h1.Record.SoloSince.IsZero() {
		t.Fatalf("the owner does not note that it is alone: %+v", h1.Record)
	}
	solo := h1.Record.SoloSince
	h1.powerOff()
	h2.start()
	for range 200 {
		h2.Authority.Solo = solo
		l.run(100 * time.Millisecond)
		if h2.phase() == Active || h2.phase() == Claim {
			t.Fatalf("claims with older data: %s", l)
		}
	}
	if h2.phase() != Blocked || !strings.Contains(h2.last.Why.Summary, "its data is older: the owner has written alone since "+solo.Format(time.RFC3339)) ||
		h2.last.Why.Try != "masthead promote --force" {
		t.Errorf("%s", l)
	}
	h1.start() // whose data it is
	for range 30 {
		h1.Authority.Solo, h2.Authority.Solo = solo, solo
		l.run(100 * time.Millisecond)
	}
	if l.owner() != "head1" {
		t.Errorf("the head with the newest data is not the owner: %s", l)
	}
}

// What the voters remember of the last owner, against what the disk says of it.
func TestR5WhoseDataIsOlder(t *testing.T) {
	alone, before := time.Unix(200, 0), time.Unix(100, 0)
	for _, test := range []struct {
		name   string
		record Record
		voters Authority
		data   Data
		want   bool
	}{
		{"nobody was alone", Record{Epoch: 16, Owner: "head2"}, Authority{Owned: 33, Known: 33}, DataUpToDate, false},
		{"no data", Record{Epoch: 16, Owner: "head2"}, Authority{Owned: 33, Known: 33, Solo: alone}, NoData, false},
		{"it followed who was alone", Record{Epoch: 33, Owner: "head2"}, Authority{Owned: 33, Known: 33, Solo: alone}, DataUpToDate, true},
		{"it knows nothing", Record{}, Authority{Owned: 33, Known: 33, Solo: alone}, DataUpToDate, true},
		{"it was the owner, alone", Record{Epoch: 16, Owner: "head1", SoloSince: alone}, Authority{Owned: 16, Known: 16, Solo: alone}, DataUpToDate, false},
		{"it was the owner, and no longer alone", Record{Epoch: 16, Owner: "head1"}, Authority{Owned: 16, Known: 16, Solo: alone}, DataUpToDate, false},
		{"the same, and the other head has claimed in vain", Record{Epoch: 16, Owner: "head1"}, Authority{Owned: 16, Known: 33, Solo: alone}, DataUpToDate, false},
		{"the other head has owned since", Record{Epoch: 16, Owner: "head1"}, Authority{Owned: 33, Known: 33, Solo: alone}, DataUpToDate, true},
		{"the other head has owned since, and both alone", Record{Epoch: 16, Owner: "head1", SoloSince: before}, Authority{Owned: 33, Known: 33, Solo: alone}, DataUpToDate, true},
		{"its own term, which it did not write down any more", Record{Epoch: 16, Owner: "head1", SoloSince: alone}, Authority{Owned: 48, Known: 48, Solo: alone}, DataUpToDate, false},
	} {
		d := decider{v: &View{Self: Self{Name: "head1"}, Authority: test.voters, Data: test.data}, rec: &test.record}
		if got := d.older(); got != test.want {
			t.Errorf("%s: older %v, want %v", test.name, got, test.want)
		}
	}
}

// A head that follows, and finds its own copy up to date, does not have what is written while the copies are not connected.
func TestR5AloneWhileNotMirrored(t *testing.T) {
	l := newLab(t, Panel, 2)
	for _, b := range l.heads {
		b.Data = DataUpToDate
	}
	l.settle()
	h1 := l.heads[0]
	h1.Mirrored = Down
	l.run(time.Second)
	if h1.Record.SoloSince.IsZero() {
		t.Fatalf("does not note that it writes alone: %+v", h1.Record)
	}
	h1.Operator.Switch = "head2"
	l.run(time.Second)
	if l.owner() != "head1" || h1.Record.SoloSince.IsZero() {
		t.Fatalf("hands over to older data: %s", l)
	}
	h1.Mirrored = Up
	l.run(time.Second)
	if !h1.Record.SoloSince.IsZero() {
		t.Errorf("still alone: %+v", h1.Record)
	}
}

func TestSoloEndsWithTheReturn(t *testing.T) {
	l := warm(t, Panel, 2)
	h1, h2 := l.heads[0], l.heads[1]
	if !h1.Record.SoloSince.IsZero() {
		t.Fatalf("alone, with a follower: %+v", h1.Record)
	}
	h2.powerOff()
	l.run(time.Second)
	if h1.Record.SoloSince.IsZero() {
		t.Fatal("not alone, without a follower")
	}
	h2.start()
	l.run(3 * time.Second)
	if !h1.Record.SoloSince.IsZero() {
		t.Errorf("still alone: %s", l)
	}
}

// Copies that are parted while an owner gives up: what was written last may be on its disk alone, so nobody is given leave to
// take over, and it goes on itself.
func TestR5PartedWhileGivingUp(t *testing.T) {
	l := newLab(t, Pair, 2)
	for _, b := range l.heads {
		b.Data, b.Mirrored = DataUpToDate, Up
	}
	l.settle()
	h1, h2 := l.heads[0], l.heads[1]
	h1.Operator.Switch = "head2"
	l.until("head1", Release, time.Second)
	h1.Mirrored = Down
	for range 300 {
		l.run(10 * time.Millisecond)
		if h2.phase() == Claim || h2.phase() == Promote || h2.phase() == Active || h1.last.Say.Released != 0 {
			t.Fatalf("the other head may take over: %+v %s", h1.last.Say, l)
		}
	}
	if h1.phase() != Active || h1.Record.SoloSince.IsZero() {
		t.Errorf("the one that has all of it does not own, alone: %+v %s", h1.Record, l)
	}
}
