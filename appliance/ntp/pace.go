package ntp

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// burst is how many packets a machine may send at once: the quickest beginnings of real clients are 4 to 8 (ntpd's and
	// chrony's iburst, ntpdate), and some are started twice.
	burst = 16
	// interval is the time between two packets of a machine that goes on for ever. Clients keep to 16 s and more.
	interval = time.Second
	// buckets is more than the machines of a cluster, at 8 bytes each. Two that share one seldom send at once.
	buckets = 1 << 14
)

// pace keeps us from being used against others: by packets with a forged sender, as many of which as somebody sends would
// be answered to that one. Each sender has a bucket out of a fixed number, so that forging many costs us nothing.
type pace struct {
	seed maphash.Seed
	next [buckets]atomic.Int64 // Unix nanoseconds at which the bucket is full again
}

func newPace() *pace { return &pace{seed: maphash.MakeSeed()} }

// allows counts a packet, and tells whether it is answered.
func (p *pace) allows(from netip.Addr, now time.Time) bool {
	if from.Is6() && !from.Is4In6() { // whoever has one address of a network has all of it
		prefix, _ := from.WithZone("").Prefix(64)
		from = prefix.Addr()
	}
	b := &p.next[maphash.Comparable(p.seed, from.Unmap())%buckets]
	for {
		old := b.Load()
		next, ok := take(old, now.UnixNano())
		if !ok {
			return false
		}
		if b.CompareAndSwap(old, next) {
			return true
		}
	}
}

// take is the bucket's arithmetic (the "virtual scheduling" of ITU-T I.371): full is when it is full again.
func take(full, now int64) (after int64, ok bool) {
	if full > now+int64(burst*interval) {
		full = now // our clock was set back: not to be silent until it is that late again
	}
	after = max(full, now) + int64(interval)
	return after, after <= now+int64(burst*interval)
}
