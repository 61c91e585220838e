package data

import (
	"testing"

	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

// epochs of two heads, in their order.
var (
	first  = failover.Epoch(0).Next(1)
	second = first.Next(2)
)

func connected(role, peerRole string) Copy {
	return Copy{There: true, Role: role, Suspended: "no", Connection: "Connected", PeerRole: peerRole, Disk: upToDate, PeerDisk: upToDate, Replication: "Established"}
}

func lost(c Copy, disk, peerDisk string) Copy {
	c.Connection, c.Replication, c.PeerRole, c.Disk, c.PeerDisk = "Connecting", "Off", "Unknown", disk, peerDisk
	return c
}

func TestReading(t *testing.T) {
	follower, owner := connected(secondary, primary), connected(primary, secondary)
	under := func(e failover.Epoch) View {
		return View{Self: "head2", Record: failover.Record{Epoch: e, Owner: "head1"}, Peer: PeerView{Name: "head1"}}
	}
	noted := Note{Epoch: first}
	fresh := Copy{There: true, Role: secondary, Disk: inconsistent, PeerDisk: "DUnknown", Connection: "Connecting", Replication: "Off"}
	syncing := connected(secondary, primary)
	syncing.Disk, syncing.Replication = inconsistent, "SyncTarget"
	elsewhere := under(first)
	elsewhere.Elsewhere = 1
	known := under(first)
	known.Known = second
	own := under(second)
	own.Record.Owner = "head2"
	hidden := own
	hidden.Known = second.Next(1)
	replaced := under(first)
	replaced.Record.DataUUID = "data:0123456789ABCDEE"
	unnamed := under(first)
	unnamed.Record.DataUUID = "0123456789ABCDEE"
	others := under(first)
	others.Elsewhere, others.Record.DataUUID = ^failover.Volumes(1<<1), "data:0123456789ABCDEE,mailbox:0123456789ABCDEE"
	ours := under(first)
	ours.Self, ours.Record.Owner = "head1", "head1"
	later := ours
	later.Record.Epoch = second
	elsewhereSince := ours
	elsewhereSince.Known = second
	back := Look{Copy: lost(follower, consistent, "DUnknown"), Note: noted, Want: WantPrimary, WentBack: first}
	backWith := func(change func(*Look)) Look {
		l := back
		change(&l)
		return l
	}
	tests := []struct {
		name string
		look Look
		view View
		want failover.Data
	}{
		{"went back, and the other one has not connected since", back, ours, failover.DataAlone},
		{"is to own, and was given to the kernel anew", backWith(func(l *Look) { l.WentBack = 0 }), ours, failover.DataUnknown},
		{"went back, and owns again under another epoch", back, later, failover.DataUnknown},
		{"went back, and the voters know of another owner since", back, elsewhereSince, failover.DataUnknown},
		{"went back, and another one owns", back, under(first), failover.DataUnknown},
		{"went back, and is not to own", backWith(func(l *Look) { l.Want = WantSecondary }), ours, failover.DataUnknown},
		{"went back, and has no note", backWith(func(l *Look) { l.Note = Note{} }), ours, failover.DataUnknown},
		{"went back, and its disk has failed", backWith(func(l *Look) { l.Copy.Disk = "Diskless" }), ours, failover.DataUnknown},
		{"the kernel has nothing yet", Look{}, under(first), failover.DataUnknown},
		{"a foreign device", Look{Meta: MetaForeign}, under(first), failover.DataUnknown},
		{"a blank device", Look{Meta: MetaBlank}, under(first), failover.NoData},
		{"a blank device, and the other has data", Look{Meta: MetaBlank}, elsewhere, failover.DataOutdated},
		{"a blank device where there were data: it was replaced", Look{Volume: "data", Meta: MetaBlank}, replaced, failover.DataOutdated},
		{"a blank device, and there were data of some volume", Look{Volume: "mail", Minor: 1, Meta: MetaBlank}, unnamed, failover.DataOutdated},
		{"a blank device, and all have data of other volumes", Look{Volume: "mail", Minor: 1, Meta: MetaBlank}, others, failover.NoData},
		{"a new copy, and all have data of other volumes", Look{Volume: "mail", Minor: 1, Copy: fresh, Meta: MetaNew}, others, failover.NoData},
		{"a new copy of the last volume, and the other has data", Look{Minor: 63, Copy: fresh, Meta: MetaNew}, others, failover.DataOutdated},
		{"a new copy", Look{Copy: fresh, Meta: MetaNew}, under(first), failover.NoData},
		{"a new copy, and the other has data", Look{Copy: fresh, Meta: MetaNew}, elsewhere, failover.DataOutdated},
		{"half a copy", Look{Copy: fresh, Meta: MetaThere}, under(first), failover.DataSyncing},
		{"follows", Look{Copy: follower}, under(first), failover.DataUpToDate},
		{"follows an owner of which it does not know yet", Look{Copy: follower, Note: noted}, under(second), failover.DataUpToDate},
		{"is brought up to date", Look{Copy: syncing, Meta: MetaThere}, under(first), failover.DataSyncing},
		{"owns", Look{Copy: owner}, under(first), failover.DataUpToDate},
		{"owns alone", Look{Copy: lost(owner, upToDate, "DUnknown")}, under(first), failover.DataAlone},
		{"is to own, and is alone", Look{Copy: lost(follower, upToDate, "DUnknown"), Note: noted, Want: WantPrimary}, under(first), failover.DataAlone},
		{"lost the owner that it followed", Look{Copy: lost(follower, upToDate, "DUnknown"), Note: noted}, under(first), failover.DataUpToDate},
		// SIM-14: it was written to, another head has owned since, and nobody told the copy.
		{"was not connected under the owner of the record", Look{Copy: lost(follower, upToDate, "DUnknown"), Note: noted}, under(second), failover.DataUnknown},
		{"was not connected under an owner that the voters know", Look{Copy: lost(follower, upToDate, "DUnknown"), Note: noted}, known, failover.DataUnknown},
		{"claims: the own epoch is on the disk, and nobody else has owned since", Look{Copy: lost(follower, upToDate, "DUnknown"), Note: noted}, own, failover.DataUpToDate},
		{"its own epoch is newer than its copy, and the voters know of another owner", Look{Copy: lost(follower, upToDate, "DUnknown"), Note: noted}, hidden, failover.DataUnknown},
		{"it has missed an owner before its own epoch", Look{Copy: lost(follower, upToDate, "DUnknown")}, own, failover.DataUnknown},
		{"a daemon that has no note", Look{Copy: lost(follower, upToDate, "DUnknown")}, under(first), failover.DataUnknown},
		{"owned alone before this boot", Look{Copy: lost(follower, upToDate, outdated)}, under(second), failover.DataUpToDate},
		{"after a boot", Look{Copy: lost(follower, consistent, "DUnknown"), Note: noted}, under(first), failover.DataUnknown},
		{"was told that it is older", Look{Copy: lost(follower, outdated, "DUnknown"), Note: noted}, under(first), failover.DataOutdated},
		{"its disk has failed", Look{Copy: lost(follower, "Diskless", "DUnknown"), Note: noted}, under(first), failover.DataUnknown},
		{"both wrote", Look{Copy: lost(follower, upToDate, "DUnknown"), Note: Note{Epoch: first, Diverged: true}}, under(first), failover.DataDiverged},
		{"both wrote, and this one goes on", Look{Copy: lost(owner, upToDate, "DUnknown"), Note: Note{Epoch: first, Diverged: true}}, under(first), failover.DataAlone},
	}
	for _, tt := range tests {
		if got := tt.look.Reading(tt.view); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWorst(t *testing.T) {
	tests := []struct {
		all  []failover.Data
		want failover.Data
	}{
		{nil, failover.NoData},
		{[]failover.Data{failover.DataUpToDate, failover.NoData}, failover.DataUpToDate},
		{[]failover.Data{failover.DataUpToDate, failover.DataAlone}, failover.DataAlone},
		{[]failover.Data{failover.DataOutdated, failover.DataSyncing, failover.DataUnknown}, failover.DataUnknown},
		{[]failover.Data{failover.DataDiverged, failover.DataUnknown}, failover.DataDiverged},
	}
	for _, tt := range tests {
		if got := Worst(tt.all...); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.all, got, tt.want)
		}
	}
}

func TestNote(t *testing.T) {
	view := View{Self: "head2", Record: failover.Record{Epoch: second, Owner: "head1"}}
	for _, tt := range []struct {
		name string
		look Look
		want Note
	}{
		{"connected", Look{Copy: connected(secondary, primary), Note: Note{Epoch: first}}, Note{Epoch: second}},
		{"written to", Look{Copy: lost(connected(primary, secondary), upToDate, "DUnknown")}, Note{Epoch: second}},
		{"lost", Look{Copy: lost(connected(secondary, primary), upToDate, "DUnknown"), Note: Note{Epoch: second}}, Note{Epoch: second}},
		{"lost, and another one owns since", Look{Copy: lost(connected(secondary, primary), upToDate, "DUnknown"), Note: Note{Epoch: first}}, Note{}},
		{"connected again after both wrote", Look{Copy: connected(secondary, primary), Note: Note{Diverged: true}}, Note{Epoch: second}},
		{"both wrote", Look{Copy: lost(connected(secondary, primary), upToDate, "DUnknown"), Note: Note{Diverged: true}}, Note{Diverged: true}},
		{"both wrote, and this one is the owner's", Look{Copy: lost(connected(primary, secondary), upToDate, "DUnknown"), Note: Note{Diverged: true}}, Note{Epoch: second, Diverged: true}},
		{"the owner's is connected again after both wrote", Look{Copy: connected(primary, secondary), Note: Note{Diverged: true}}, Note{Epoch: second}},
	} {
		if got := tt.look.Noted(view); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// drawLook is any copy with any view of it.
func drawLook(t *rapid.T) (Look, View) {
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	roles := []string{primary, secondary}
	disks := []string{upToDate, consistent, outdated, inconsistent, "Diskless", "Failed", "Attaching", "DUnknown"}
	l := Look{
		Copy: Copy{
			There: rapid.Bool().Draw(t, "there"), Role: pick("role", roles...), Suspended: pick("suspended", "no", "fencing"),
			Connection: pick("connection", "Connected", "Connecting", "StandAlone", "Unconnected", ""), PeerRole: pick("peer role", "Primary", "Secondary", "Unknown"),
			Disk: pick("disk", disks...), PeerDisk: pick("peer disk", disks...), Replication: pick("replication", "Off", "Established", "SyncSource", "SyncTarget"),
		},
		Note: Note{failover.Epoch(rapid.IntRange(0, 40).Draw(t, "note")), rapid.Bool().Draw(t, "diverged")},
		Meta: Meta(rapid.IntRange(0, int(MetaThere)).Draw(t, "meta")), Want: Want(rapid.IntRange(0, 2).Draw(t, "want")),
		Lost: failover.Instant(rapid.IntRange(0, 3).Draw(t, "lost")), WentBack: failover.Epoch(rapid.IntRange(0, 40).Draw(t, "went back")),
	}
	v := View{
		Self:   "head1",
		Record: failover.Record{Epoch: failover.Epoch(rapid.IntRange(0, 40).Draw(t, "epoch")), Owner: pick("owner", "", "head1", "head2")},
		Known:  failover.Epoch(rapid.IntRange(0, 40).Draw(t, "known")), Elsewhere: failover.Volumes(rapid.Uint64Range(0, 3).Draw(t, "elsewhere")),
	}
	if rapid.Bool().Draw(t, "peer") {
		v.Peer = PeerView{
			Name: "head2", Alive: rapid.Bool().Draw(t, "alive"), Heard: failover.Instant(rapid.IntRange(0, 3).Draw(t, "heard")),
			Said: failover.Said{
				BootID: 1, Phase: failover.Phase(rapid.IntRange(0, 8).Draw(t, "phase")), Acting: failover.Epoch(rapid.IntRange(0, 40).Draw(t, "acting")),
				Data: failover.Data(rapid.IntRange(0, int(failover.DataAlone)).Draw(t, "data")),
			},
		}
	}
	return l, v
}

// R5: what may claim is a copy of which DRBD says that it is up to date, or none at all.
func TestReadingIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, v := drawLook(t)
		got := l.Reading(v)
		if !got.MayClaim() {
			return
		}
		if got == failover.NoData {
			if l.Copy.There && l.Meta != MetaNew || !l.Copy.There && l.Meta != MetaBlank || v.Elsewhere&1 != 0 {
				t.Fatalf("%+v counts as none", l)
			}
			return
		}
		if went := l.WentBack != 0 && l.WentBack == v.Record.Epoch && v.Record.Owner == v.Self && v.Known <= v.Record.Epoch; got == failover.DataAlone && went && l.Copy.Disk == consistent {
			return // what the owner has put there itself in this term
		}
		if !l.Copy.There || l.Copy.Disk != upToDate {
			t.Fatalf("%+v counts as %v", l.Copy, got)
		}
		if l.Note.Diverged && l.Copy.Role != primary {
			t.Fatalf("a copy that has diverged counts as %v", got)
		}
	})
}
