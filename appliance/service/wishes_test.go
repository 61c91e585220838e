package service

import (
	"testing"

	"masthead/appliance/failover"
)

// The owner daemon says what it wishes at each of its ticks: only what is new wakes the services.
func TestSameWishWakesNobody(t *testing.T) {
	g := &Group{poke: make(chan struct{}, 1)}
	for _, tt := range []struct {
		wish  failover.Wish
		epoch uint64
		wakes bool
	}{
		{failover.Run, 23, true}, {failover.Run, 23, false}, {failover.Run, 24, true}, {failover.Stop, 24, true}, {failover.Stop, 24, false},
	} {
		g.Wish(tt.wish, tt.epoch)
		woken := false
		select {
		case <-g.poke:
			woken = true
		default:
		}
		if woken != tt.wakes {
			t.Errorf("%v of epoch %d: woken %v, want %v", tt.wish, tt.epoch, woken, tt.wakes)
		}
	}
}
