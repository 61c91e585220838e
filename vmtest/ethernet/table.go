package ethernet

import (
	"sync"
	"time"
)

const (
	// tableAge is how long a silent address is remembered: 300 s is the default
	// of IEEE 802.1D, table 7-5.
	tableAge = 300 * time.Second

	// tableSize bounds what a guest with random source addresses can fill; real
	// switches hold 8 Ki addresses and more.
	tableSize = 8192
)

// table remembers behind which port each address was last seen. Times are
// arguments, in the caller's clock.
type table struct {
	mu      sync.Mutex
	entries map[MAC]sighting
	swept   time.Time
}

type sighting struct {
	port *Port
	at   time.Time
}

// learn notes that mac sent a frame from port. The latest sighting wins, so that
// an address may move, as a virtual IP's owner does.
func (t *table) learn(mac MAC, port *Port, now time.Time) {
	if mac.group() {
		return // no station sends from a group address
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries == nil {
		t.entries = make(map[MAC]sighting)
	}
	if _, known := t.entries[mac]; !known && len(t.entries) >= tableSize {
		t.sweep(now)
		if len(t.entries) >= tableSize {
			return // frames to it are flooded, as by a real switch
		}
	}
	t.entries[mac] = sighting{port, now}
}

// lookup returns the port behind which mac was seen, nil when it is to be flooded.
func (t *table) lookup(mac MAC, now time.Time) *Port {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.entries[mac]
	if !ok || now.Sub(s.at) > tableAge {
		return nil
	}
	return s.port
}

// forget drops what was learnt behind port, as a switch does when a link goes down.
func (t *table) forget(port *Port) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for mac, s := range t.entries {
		if s.port == port {
			delete(t.entries, mac)
		}
	}
}

// sweep drops what is too old, at most once a second: under a flood of new
// addresses a sweep per frame would be the denial of service.
func (t *table) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Second {
		return
	}
	t.swept = now
	for mac, s := range t.entries {
		if now.Sub(s.at) > tableAge {
			delete(t.entries, mac)
		}
	}
}
