package data

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/failover"
)

// severalOf is a head with two volumes, of which DRBD has said how they are.
func severalOf(t *testing.T, change func(data, mail *volume)) *Set {
	t.Helper()
	s, err := New(Config{
		Resources: Resources{Volumes: []Volume{{Name: "data", Device: "/dev/vdb"}, {Name: "mail", Device: "/dev/vdc"}}},
		Self:      "head1", Dir: t.TempDir(), Now: func() failover.Instant { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.ready = true
	change(s.volumes[0], s.volumes[1])
	return s
}

// What a head says of its volumes together is the worst of them, and of each what it is.
func TestStandingOfSeveral(t *testing.T) {
	const data, mail = failover.Volumes(1), failover.Volumes(2)
	view := View{Self: "head1", Record: failover.Record{Epoch: first, Owner: "head1"}, Peer: PeerView{Name: "head2", Alive: true}}
	follows := view
	follows.Record.Owner = "head2"

	owner, follower := connected(primary, secondary), connected(secondary, primary)
	source, target := owner, follower
	source.Replication, source.PeerDisk = "SyncSource", inconsistent
	target.Replication, target.Disk = "SyncTarget", inconsistent
	negotiates := owner
	negotiates.Replication = "Off"

	tests := []struct {
		name   string
		view   View
		change func(d, m *volume)
		want   Standing
	}{
		{"owns, and both are the same on both heads", view, func(d, m *volume) {
			d.look.Copy, m.look.Copy = owner, owner
		}, Standing{Data: failover.DataUpToDate, Have: data | mail, Connected: true, Mirrored: failover.Up}},
		{"owns, and loses one while the other is brought up to date", view, func(d, m *volume) {
			d.look.Copy, m.look.Copy = source, lost(owner, upToDate, "DUnknown")
			m.look.Lost = 5
		}, Standing{Data: failover.DataAlone, Lost: 5, Parted: mail, Have: data | mail, Mirrored: failover.Down}},
		{"follows, and loses one while the other is brought up to date", follows, func(d, m *volume) {
			d.look.Copy, m.look.Copy = target, lost(follower, upToDate, "DUnknown")
			m.look.Note.Epoch = first
		}, Standing{Data: failover.DataSyncing, Older: data, Have: data | mail, Mirrored: failover.Down}},
		{"follows, and both were told that they are older", follows, func(d, m *volume) {
			d.look.Copy, m.look.Copy = lost(follower, outdated, "DUnknown"), lost(follower, outdated, "DUnknown")
		}, Standing{Data: failover.DataOutdated, Older: data | mail, Mirrored: failover.Down}},
		{"is asked of one before it hears that the connection is lost", view, func(d, m *volume) {
			d.look.Copy, m.look.Copy = lost(owner, upToDate, "DUnknown"), negotiates
			m.asking = 1
		}, Standing{Data: failover.DataAlone, Parted: data | mail, Have: data | mail, Mirrored: failover.Down}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, severalOf(t, tt.change).Standing(tt.view)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	s := severalOf(t, func(d, m *volume) { d.look.Copy, m.look.Copy = owner, owner })
	old := newVolume(Volume{Name: "old", Number: 3})
	s.left, old.look.Copy = []*volume{old}, lost(owner, upToDate, "DUnknown")
	if got := s.Standing(view).Parted; got != 1<<2 {
		t.Errorf("parted with a volume that is left: %b, want that one", got)
	}
	s = severalOf(t, func(d, m *volume) {
		d.look.Copy, m.look.Copy, m.asking = lost(owner, outdated, "DUnknown"), owner, 1
	})
	s.ready = false
	if diff := cmp.Diff(Standing{Data: failover.DataUnknown, Mirrored: failover.Unknown}, s.Standing(view)); diff != "" {
		t.Errorf("DRBD has not said all: %s", diff)
	}
}

// A volume of which DRBD asks counts as parted until it is answered, also while its events do not tell that it is.
func TestAskedIsParted(t *testing.T) {
	s := severalOf(t, func(d, m *volume) {
		d.look.Copy, m.look.Copy = connected(primary, secondary), connected(primary, secondary)
		m.look.Copy.Replication = "Off"
	})
	ctx, cancel := context.WithCancel(t.Context())
	waits, done := s.signal, make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = s.Ask(ctx, "mail") // what it says is of no interest
	}()
	<-waits
	if got := s.Standing(View{}).Parted; got != 1<<1 {
		t.Errorf("parted while it is asked: %b, want that volume", got)
	}
	cancel()
	<-done
	if got := s.Standing(View{}).Parted; got != 0 {
		t.Errorf("parted afterwards: %b, want none", got)
	}
}
