package ownership

import (
	"testing"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/data"
	"masthead/appliance/failover"
)

// What the voters know of this head itself takes nothing away from its copy: a claim of its own, which they know before it is
// on the disk, would else keep it from taking over.
func TestCopyView(t *testing.T) {
	own, other := failover.Epoch(0).Next(1), failover.Epoch(0).Next(2)
	d := &Daemon{zero: time.Now(), config: Config{
		Self: "head1", Heads: map[string]Head{"head1": {Number: 1}, "head2": {Number: 2}},
		document: configuration.Document{Data: []data.Volume{{Name: "data"}}},
	}}
	for _, tt := range []struct {
		name string
		a    failover.Authority
		want failover.Epoch
	}{
		{"nobody is asked", failover.Authority{Kind: failover.Pair}, 0},
		{"nobody has owned", failover.Authority{Kind: failover.Panel, Known: own}, 0},
		{"this head claims", failover.Authority{Kind: failover.Panel, Known: own, Owned: own}, 0},
		{"the other one has owned", failover.Authority{Kind: failover.Panel, Known: own.Next(1), Owned: other}, other},
	} {
		v := failover.View{Self: failover.Self{Name: "head1", ID: 1}, Authority: tt.a}
		got := d.copyView(&v)
		if got.Known != tt.want || got.Self != "head1" || got.Peer.Name != "head2" {
			t.Errorf("%s: got known %v, self %q, peer %q; want %v", tt.name, got.Known, got.Self, got.Peer.Name, tt.want)
		}
	}
}

// Both judges that have voters can say what those know.
var _ = [...]witnesses{panel{}, consensus{}}
