package arbiter

import (
	"net/netip"
	"testing"
	"time"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// A quorum knows that the owner is alone when it has acknowledged it in a renewal; witnesses that have restarted since the
// copies of the data were last connected do not count.
func TestSoloKnown(t *testing.T) {
	const margin = 50 * time.Millisecond
	timing := failover.Normal()
	roster := Roster{Version: 1, Voters: []Voter{{Name: "head1", Head: 1}, {Name: "head2", Head: 2}}}
	for i, name := range []string{"n01", "n02", "n03"} {
		roster.Voters = append(roster.Voters, Voter{Name: name, Head: Witness, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 10)}), 7948)})
	}
	known, err := Rosters{}.with(roster)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLease(LeaseConfig{Self: 1, Cluster: 7, Timing: timing}, known, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	voters, boot := map[string]*witness.Voter{}, uint64(1)
	start := func(name string, now failover.Instant) {
		voters[name] = witness.NewVoter(witness.VoterConfig{Cluster: 7, Boot: boot, Longest: timing.TTL, Margin: margin}, now)
		boot++
	}
	for _, v := range roster.Voters {
		if v.Name != "head2" { // which is dead
			start(v.Name, 0)
		}
	}
	now := failover.Instant(0)
	run := func(d time.Duration) {
		for end := now + d; now < end; now += 10 * time.Millisecond {
			ask, _ := l.Next(now)
			for _, q := range ask {
				if v := voters[q.To.Name]; v != nil {
					l.Heard(q.To.Name, v.Answer(q.Ask, now), now)
				}
			}
		}
	}
	run(2 * time.Second) // the abstention is over
	epoch := failover.Epoch(0).Next(1)
	l.Want(epoch, time.Time{}, "", now)
	run(time.Second)
	if a := l.Authority(now); a.Held != epoch {
		t.Fatalf("no lease: %+v", a)
	}
	boots := l.Boots(now)
	if len(boots) != 3 {
		t.Fatalf("witnesses %v", boots)
	}
	if got := l.SoloKnown(boots); got != 0 {
		t.Errorf("alone before it is: %v", got)
	}
	solo, lost := time.Unix(1000, 0), now
	l.Want(epoch, solo, "", now)
	if got := l.SoloKnown(boots); got != 0 {
		t.Errorf("known before it was sent: %v", got)
	}
	run(500 * time.Millisecond)
	first := l.SoloKnown(boots)
	if first < lost {
		t.Errorf("not known after half a second: %v", first)
	}
	run(time.Second)
	if got := l.SoloKnown(boots); got <= first {
		t.Errorf("the newest renewal is as old as the first: %v", got)
	}
	start("n01", now)
	run(2 * time.Second)
	if got := l.SoloKnown(boots); got <= first {
		t.Errorf("two of three witnesses are no majority: %v", got)
	}
	start("n02", now)
	run(2 * time.Second)
	if a, got := l.Authority(now), l.SoloKnown(boots); a.Held != epoch || got != 0 && got > lost+4*time.Second {
		t.Errorf("witnesses that have restarted count: %v, %+v", got, a)
	}
	if got := l.SoloKnown(l.Boots(now)); got <= first {
		t.Errorf("those that were there since do not count: %v", got)
	}
	l.Want(0, time.Time{}, "", now)
	if got := l.SoloKnown(boots); got != 0 {
		t.Errorf("known of one that gave up: %v", got)
	}
}
