package data

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

func TestNext(t *testing.T) {
	follower, owner := connected(secondary, primary), connected(primary, secondary)
	both := connected(secondary, secondary)
	lostAlone := func(c Copy, disk string) Copy { c = lost(c, disk, "DUnknown"); c.Connection = "StandAlone"; return c }
	alone := func(c Copy) Copy { return lostAlone(c, upToDate) }
	fresh := Copy{There: true, Role: secondary, Disk: inconsistent, PeerDisk: inconsistent, Connection: "Connected", PeerRole: secondary, Replication: "Established"}
	peer := func(change func(*PeerView)) View {
		v := View{Record: failover.Record{Epoch: second, Owner: "head2"}, Peer: PeerView{Name: "head2", Alive: true, Heard: 10}}
		if change != nil {
			change(&v.Peer)
		}
		return v
	}
	left := peer(func(p *PeerView) {
		p.Said = failover.Said{Phase: failover.Active, Acting: second, Data: failover.DataAlone}
	})
	dead := peer(func(p *PeerView) { p.Alive = false })
	forced := dead
	forced.Word = failover.Word{Go: true, Forced: true}
	forcedAlive := peer(nil)
	forcedAlive.Word = forced.Word
	single := View{}
	at := func(now time.Duration) View { v := peer(nil); v.Now = now; return v }
	tests := []struct {
		name string
		look Look
		view View
		want Step
	}{
		{"nobody has looked", Look{}, peer(nil), Inspect},
		{"blank", Look{Meta: MetaBlank}, peer(nil), CreateMeta},
		{"foreign", Look{Meta: MetaForeign}, peer(nil), Wait},
		{"new", Look{Meta: MetaNew}, peer(nil), Up},
		{"there", Look{Meta: MetaThere}, peer(nil), Up},
		{"follows", Look{Copy: follower, Want: WantSecondary}, peer(nil), Wait},
		{"a daemon that comes back leaves what is", Look{Copy: owner}, peer(nil), Wait},
		{"gives up", Look{Copy: owner, Want: WantSecondary}, peer(nil), Demote},
		{"is to connect", Look{Copy: alone(follower)}, peer(nil), Connect},
		{"has no other to connect to", Look{Copy: alone(follower)}, single, Wait},
		{"has diverged: both sides are kept", Look{Copy: alone(follower), Note: Note{Diverged: true}}, peer(nil), Wait},
		{"owned, and both sides are kept", Look{Copy: alone(follower), Note: Note{Diverged: true}, Split: 5 * time.Second}, at(15 * time.Second), Wait},
		{"owns, and has just found that both wrote", Look{Copy: alone(owner), Note: Note{Diverged: true}, Split: 5 * time.Second}, at(14 * time.Second), Wait},
		{"owns, and waits for the other one, or for it to find that too", Look{Copy: alone(owner), Note: Note{Diverged: true}, Split: 5 * time.Second}, at(15 * time.Second), Connect},
		{"owns, and an earlier daemon has found that both wrote", Look{Copy: alone(owner), Note: Note{Diverged: true}}, at(0), Connect},
		{"owns, and listens for the one that is set aside", Look{Copy: lost(owner, upToDate, "DUnknown"), Note: Note{Diverged: true}, Split: 5 * time.Second}, at(15 * time.Second), Wait},
		{"the owner goes on without it", Look{Copy: lost(follower, upToDate, "DUnknown"), Lost: 5}, left, Outdate},
		{"has just booted, and the owner goes on without it", Look{Copy: lost(follower, consistent, "DUnknown")}, left, Outdate},
		{"the owner said so before it was lost", Look{Copy: lost(follower, upToDate, "DUnknown"), Lost: 10}, left, Wait},
		{"the owner went on, and it is the older one already", Look{Copy: lost(follower, outdated, "DUnknown"), Lost: 5}, left, Wait},
		{"the owner says nothing", Look{Copy: lost(follower, upToDate, "DUnknown"), Lost: 5}, dead, Wait},
		{"no disk", Look{Copy: Copy{There: true, Role: secondary, Disk: "Diskless"}}, peer(nil), Attach},

		{"takes over from a dead owner that DRBD misses", Look{Copy: lost(follower, upToDate, "DUnknown"), Want: WantPrimary}, dead, Promote},
		{"takes over from a dead owner that DRBD does not miss yet", Look{Copy: follower, Want: WantPrimary}, dead, Disconnect},
		{"takes over from one that lives and has demoted", Look{Copy: both, Want: WantPrimary}, peer(nil), Promote},
		{"does not take over from one that lives and writes", Look{Copy: follower, Want: WantPrimary}, peer(nil), Wait},
		{"takes over, disconnected by itself", Look{Copy: alone(follower), Want: WantPrimary}, dead, Promote},
		{"is new and is to own, and `up` did not come as far as to connect", Look{Copy: lostAlone(fresh, inconsistent), Meta: MetaNew, Want: WantPrimary}, peer(nil), Connect},
		{"is older and is to own, and stands alone", Look{Copy: lostAlone(follower, outdated), Want: WantPrimary}, dead, Connect},
		{"is half and is to own, and stands alone", Look{Copy: lostAlone(follower, inconsistent), Meta: MetaThere, Want: WantPrimary}, dead, Connect},
		{"is half and is to own, and stands alone since both wrote", Look{Copy: lostAlone(follower, inconsistent), Meta: MetaThere, Note: Note{Diverged: true}, Want: WantPrimary}, dead, Wait},
		{"is half and is to own, alone, on a person's word", Look{Copy: lostAlone(follower, inconsistent), Meta: MetaThere, Want: WantPrimary}, forced, Force},
		{"is half and is to own, and there is no other", Look{Copy: lostAlone(follower, inconsistent), Meta: MetaThere, Want: WantPrimary}, single, Wait},
		{"is older and is to own", Look{Copy: lost(follower, outdated, "DUnknown"), Want: WantPrimary}, dead, Wait},
		{"is older and is to own, on a person's word", Look{Copy: lost(follower, outdated, "DUnknown"), Want: WantPrimary}, forced, Force},
		{"is half and is to own, on a person's word", Look{Copy: lost(follower, inconsistent, "DUnknown"), Meta: MetaThere, Want: WantPrimary}, forced, Force},
		{"has booted alone and is to own, on a person's word", Look{Copy: lost(follower, consistent, "DUnknown"), Want: WantPrimary}, forced, Force},
		{"is up to date and is to own, on a person's word", Look{Copy: lost(follower, upToDate, "DUnknown"), Want: WantPrimary}, forced, Promote},
		{"is older, and only follows", Look{Copy: lost(follower, outdated, "DUnknown")}, forced, Wait},
		{"is new, and a person's word makes nothing of it", Look{Copy: lost(fresh, inconsistent, "DUnknown"), Meta: MetaNew, Want: WantPrimary}, forced, Wait},
		{"the other one is connected and has newer data", Look{Copy: Copy{There: true, Role: secondary, Disk: inconsistent, PeerDisk: upToDate, Connection: "Connected", PeerRole: secondary, Replication: "SyncTarget"}, Meta: MetaThere, Want: WantPrimary}, forcedAlive, Wait},
		{"is half and is to own", Look{Copy: lost(follower, inconsistent, "DUnknown"), Meta: MetaThere, Want: WantPrimary}, dead, Wait},
		{"is new, and so is the other", Look{Copy: fresh, Meta: MetaNew, Want: WantPrimary}, peer(nil), Create},
		{"is new, and the other is not there", Look{Copy: lost(fresh, inconsistent, "DUnknown"), Meta: MetaNew, Want: WantPrimary}, dead, Wait},
		{"is new and the only one", Look{Copy: lost(fresh, inconsistent, "DUnknown"), Meta: MetaNew, Want: WantPrimary}, single, Create},
		{"was new once", Look{Copy: fresh, Meta: MetaThere, Want: WantPrimary}, peer(nil), Wait},
	}
	for _, tt := range tests {
		tt.look.Tuned = true
		if got, why := tt.look.Next(tt.view); got != tt.want {
			t.Errorf("%s: got %v (%s), want %v", tt.name, got, why, tt.want)
		}
	}
}

func TestTune(t *testing.T) {
	l := Look{Copy: connected(primary, secondary)}
	v := View{Peer: PeerView{Name: "head2", Alive: true}}
	if got, _ := l.Next(v); got != Tune {
		t.Errorf("a copy that the kernel has from before: %v", got)
	}
	l.Want = WantSecondary
	if got, _ := l.Next(v); got != Demote {
		t.Errorf("giving up comes first: %v", got)
	}
	got := Resources{Freeze: true, Major: 8}.diskOptions(Volume{ResyncRate: "10M"})
	if want := []string{"--fencing=resource-and-stonith", "--resync-rate=3413K", "--c-min-rate=3413K", "--c-max-rate=10M"}; !slices.Equal(got, want) {
		t.Errorf("options %q, want %q", got, want)
	}
}

// Whatever comes in: nothing is promoted that is older, nothing made new that was written to, and no copy that is written
// to is called the older one.
func TestNextIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, v := drawLook(t)
		switch step, why := l.Next(v); step {
		case Promote:
			if l.Want != WantPrimary || l.Copy.Disk != upToDate && l.Copy.Disk != consistent {
				t.Fatalf("promotes %+v: %s", l, why)
			}
			if l.Copy.Connected() && l.Copy.PeerRole != secondary {
				t.Fatalf("promotes beside a primary: %+v", l)
			}
		case Create:
			if l.Want != WantPrimary || l.Meta != MetaNew || l.Copy.Disk != inconsistent || l.Copy.PeerDisk != inconsistent && v.Peer.Name != "" {
				t.Fatalf("makes anew %+v", l)
			}
		case CreateMeta:
			if l.Meta != MetaBlank || l.Copy.There {
				t.Fatalf("makes meta-data on %+v", l)
			}
		case Outdate:
			if l.Copy.Role == primary || l.Copy.Connected() || v.Peer.Heard <= l.Lost || !v.Peer.Said.Phase.Holds() {
				t.Fatalf("outdates %+v, %+v", l, v)
			}
		case Connect:
			if l.Note.Diverged && l.Copy.Role != primary {
				t.Fatalf("connects what has diverged: %+v", l)
			}
		case Disconnect:
			if v.Peer.Alive && l.Copy.PeerRole == primary {
				t.Fatalf("disconnects a writer that lives: %+v", l)
			}
		}
	})
}

func TestAnswer(t *testing.T) {
	tests := []struct {
		word failover.Word
		want int
	}{
		{failover.Word{}, ExitUnknown},
		{failover.Word{Go: true}, ExitFenced},
		{failover.Word{Go: true, Outdated: true}, ExitOutdated},
		{failover.Word{Yield: true}, ExitPrimary},
		{failover.Word{Go: true, Yield: true}, ExitPrimary},
	}
	for _, tt := range tests {
		if got := Answer(tt.word); got != tt.want {
			t.Errorf("%+v: got %d, want %d", tt.word, got, tt.want)
		}
	}
	for code := range 16 { // of what a word can say; DRBD would take 5 for a death
		w := failover.Word{Go: code&1 != 0, Outdated: code&2 != 0, Yield: code&4 != 0}
		if Answer(w) == 5 {
			t.Errorf("%+v: the peer is assumed to be dead", w)
		}
	}
}
