package ndp

import (
	"net"
	"testing"
	"time"
)

func TestPaceToAll(t *testing.T) {
	var p pace
	start := time.Unix(1000, 0)
	for _, tt := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true}, {0, false}, {2999 * time.Millisecond, false}, {3 * time.Second, true}, {5 * time.Second, false}, {6 * time.Second, true},
	} {
		if got := p.allows(start.Add(tt.at), true); got != tt.want {
			t.Errorf("after %v: %v, want %v", tt.at, got, tt.want)
		}
	}
}

func TestPaceToOne(t *testing.T) {
	var p pace
	start := time.Unix(1000, 0)
	p.allows(start, true) // holds up nobody who has an address
	count := func(at time.Duration) (n int) {
		for range 3 * perSecond {
			if p.allows(start.Add(at), false) {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		at   time.Duration
		want int
	}{
		{0, perSecond}, {999 * time.Millisecond, 0}, {time.Second, perSecond}, {time.Hour, perSecond},
	} {
		if got := count(tt.at); got != tt.want {
			t.Errorf("after %v: %d, want %d", tt.at, got, tt.want)
		}
	}
}

// TestSilence has routers come and go. The loop has asked at 0, and nobody asks it.
func TestSilence(t *testing.T) {
	start := time.Unix(1000, 0)
	l := loop{log: quiet(), sock: &socket{nic: &net.Interface{HardwareAddr: self}}, asked: start}
	at := func(d time.Duration) time.Time { return start.Add(d) }
	router := func(lifetime byte) []byte {
		return []byte{typeAdvertisement, 0, 0, 0, 64, 0, 0, lifetime, 0, 0, 0, 0, 0, 0, 0, 0}
	}
	for _, tt := range []struct {
		name  string
		at    time.Duration
		hears []byte
		ready bool
		wake  time.Duration // negative: none
	}{
		{"a router may answer", 0, nil, false, askTime},
		{"still", 3999 * time.Millisecond, nil, false, askTime},
		{"none did", askTime, nil, true, -1},
		{"another head", 5 * time.Second, router(0), true, -1},
		{"a router", 6 * time.Second, router(100), false, 106 * time.Second},
		{"a shorter one", 7 * time.Second, router(10), false, 106 * time.Second},
		{"the router again", 50 * time.Second, router(100), false, 150 * time.Second},
		{"last second", 149 * time.Second, nil, false, 150 * time.Second},
		{"gone", 150 * time.Second, nil, true, -1},
	} {
		if tt.hears != nil {
			l.take(at(tt.at), tt.hears, onLink, neighbor)
		}
		wake := l.step(at(tt.at))
		want := time.Time{}
		if tt.wake >= 0 {
			want = at(tt.wake)
		}
		if l.ready != tt.ready || !wake.Equal(want) {
			t.Errorf("%s: ready %v until %v, want %v until %v", tt.name, l.ready, wake.Sub(start), tt.ready, tt.wake)
		}
	}
}
