package ownership

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

// TestSwitched: who has waited for a switch is told the epoch with which it was settled, since the record on the disk may be
// behind, and of one that came to nothing that it did.
func TestSwitched(t *testing.T) {
	plan := wire.SwitchAnswer{From: "head1", To: "head2", Seconds: 0.062}
	tests := []struct {
		done  failover.Done
		epoch string
		err   string
	}{
		{failover.Done{Switch: "head2 owns the cluster under epoch 2.2", Epoch: failover.Epoch(failover.MaxHeads).Next(2)}, "2.2", ""},
		{failover.Done{Switch: failover.Refused + "its data are not up to date"}, "", "its data are not up to date"},
		{failover.Done{Switch: failover.Failed + "head2 did not take over within 2s"}, "", "head2 did not take over within 2s"},
	}
	for _, tt := range tests {
		waits := make(chan settled, 1)
		o := operator{wish: failover.Operator{Switch: "head2"}, switched: []chan settled{waits}}
		o.settle(failover.Done{})
		o.settle(tt.done)
		if o.wish.Switch != "" || o.switched != nil {
			t.Errorf("%s: still wished: %+v", tt.done.Switch, o)
		}
		got, err := (<-waits).switched(plan)
		want := wire.SwitchAnswer{}
		if tt.err == "" {
			want = plan
			want.Epoch = tt.epoch
		}
		var p *problem
		if diff := cmp.Diff(want, got); diff != "" || (tt.err != "") != errors.As(err, &p) || p != nil && p.detail != tt.err {
			t.Errorf("%s: %v %s", tt.done.Switch, err, diff)
		}
	}
}

// A head that has become the owner and still starts its services has fulfilled the wish.
func TestUnsettled(t *testing.T) {
	tests := []struct {
		owner string
		phase failover.Phase
		fails bool
	}{
		{"head2", failover.Promote, false},
		{"head1", failover.Promote, true},
		{"head2", failover.Claim, true},
		{"", failover.Blocked, true},
	}
	for _, tt := range tests {
		s := wire.OwnerStatus{Self: "head2", Owner: tt.owner, Why: wire.OwnerWhy{Phase: tt.phase.String()}}
		if err := unsettled(s); (err != nil) != tt.fails {
			t.Errorf("%q owns, phase %v: %v", tt.owner, tt.phase, err)
		}
	}
}
