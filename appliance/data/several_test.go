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
	owned := view
	owned.Record.DataUUID = "data:A0"
	ownedBoth := view
	ownedBoth.Record.DataUUID = "data:A0,mail:B0"
	elsewhere := view
	elsewhere.Elsewhere = mail

	owner, follower := connected(primary, secondary), connected(secondary, primary)
	source, target := owner, follower
	source.Replication, source.PeerDisk = "SyncSource", inconsistent
	target.Replication, target.Disk = "SyncTarget", inconsistent
	fresh := connected(secondary, secondary)
	fresh.Disk, fresh.PeerDisk = inconsistent, inconsistent
	negotiates := owner
	negotiates.Replication = "Off"

	tests := []struct {
		name   string
		view   View
		change func(d, m *volume)
		want   Standing
	}{
		{"owns, and both are the same on both heads", view, func(d, m *volume) {
			d.look.Copy, m.look.Copy, d.uuid, m.uuid = owner, owner, "A2", "B2"
		}, Standing{Data: failover.DataUpToDate, Have: data | mail, UUID: "data:A2,mail:B2", Connected: true, Mirrored: failover.Up}},
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
		// A volume that nothing was written to yet keeps nobody from owning.
		{"owned, and one is new on both heads", owned, func(d, m *volume) {
			d.look.Copy, m.look.Copy, m.look.Meta, d.uuid = owner, fresh, MetaNew, "A2"
		}, Standing{Data: failover.DataUpToDate, Older: mail, Have: data, UUID: "data:A2", Connected: true, Mirrored: failover.Up}},
		{"owned, and one is blank", owned, func(d, m *volume) {
			d.look.Copy, m.look.Meta, d.uuid = owner, MetaBlank, "A2"
		}, Standing{Data: failover.DataUpToDate, Have: data, UUID: "data:A2", Connected: true, Mirrored: failover.Up}},
		{"owns alone, and one is blank and to be begun", owned, func(d, m *volume) {
			d.look.Copy, m.look.Meta, m.look.Want, d.uuid = lost(owner, upToDate, "DUnknown"), MetaBlank, WantPrimary, "A2"
		}, Standing{Data: failover.DataAlone, Parted: data, Have: data, UUID: "data:A2", Mirrored: failover.Down}},
		{"owned, and one was replaced by a blank one", ownedBoth, func(d, m *volume) {
			d.look.Copy, m.look.Meta, d.uuid = owner, MetaBlank, "A2"
		}, Standing{Data: failover.DataOutdated, Have: data, UUID: "data:A2,mail:B0", Mirrored: failover.Down}},
		{"one is blank, and the other head has data of it", elsewhere, func(d, m *volume) {
			d.look.Copy, m.look.Meta = follower, MetaBlank
		}, Standing{Data: failover.DataOutdated, Have: data, Mirrored: failover.Down}},
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
		d.uuid = "A2"
	})
	s.ready = false
	if diff := cmp.Diff(Standing{Data: failover.DataUnknown, UUID: "data:A2", Mirrored: failover.Unknown}, s.Standing(view)); diff != "" {
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

func TestRecorded(t *testing.T) {
	for _, tt := range []struct{ uuid, volume, want string }{
		{"", "data", ""},
		{"data:A0", "data", "A0"},
		{"data:A0,mail:B0", "mail", "B0"},
		{"data:A0,mail:B0", "mai", ""},
		{"mailbox:A0", "mail", ""},
		{"A0", "mail", "A0"},
		{"A0,B0", "mail", "A0"},
	} {
		if got := recorded(tt.uuid, tt.volume); got != tt.want {
			t.Errorf("%q has %q of %q, want %q", tt.uuid, got, tt.volume, tt.want)
		}
	}
}
