package failover

import (
	"testing"
	"time"
)

// Voters that answer one moment and not the next must not make the epochs run: one each Timing.Renew, at most.
func TestClaimsAreFew(t *testing.T) {
	v := View{
		Policy: Policy{Timing: Normal()}, Self: Self{Name: "head1", BootID: "b"}, Uplink: Up, Gate: Gate{},
		Peers: []Peer{{Name: "head2", ID: 1, Links: []Link{{Name: "nic0"}}, Said: Said{BootID: 2, Phase: Standby, For: -1}}},
	}
	epochs := map[Epoch]bool{}
	now := Instant(0)
	for i := range 500 { // 5 s, of which head2 is silent all the time
		now += 10 * time.Millisecond
		v.Authority = Authority{Kind: Panel, Quorum: Up, Vouches: true}
		if i%2 == 1 {
			v.Authority.Quorum = Down
		}
		d := Decide(v, now)
		v.Memory, v.Record = d.Memory, d.Record
		if d.Want != 0 {
			epochs[d.Want] = true
		}
	}
	if n := len(epochs); n < 5 || n > 51 {
		t.Errorf("%d epochs were asked for in 5 s: want some, and one each %v at most", n, v.Policy.Timing.Renew)
	}
	if v.Record.Epoch != 0 {
		t.Errorf("none was granted, and %v is on the disk", v.Record.Epoch)
	}
}
