package gossip

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"
)

// network is what lies between simulated heads. Messages are delayed (and so reordered), lost and sent twice, as the
// weather is; links are cut, each direction by itself. What becomes of a message is a function of the seed, the link
// and the number of the message on it, so that a schedule meets the same network again.
type network struct {
	seed uint64

	mu      sync.Mutex
	heads   map[string]*simHead
	cut     map[[2]string]int // how many faults cut it now
	weather weather
	count   map[[2]string]uint64
	latest  map[[2]string]time.Time // the last arrival on a link so far

	ran faults
}

// weather is what happens to messages on links that are not cut.
type weather struct {
	Loss, Twice float64       // probability
	Delay       time.Duration // at most, there and back each
	Late        time.Duration // at most, of the second copy of a message
}

// faults counts what really happened.
type faults struct {
	blocked, lost, twice, overtaken, late, refused, deaf atomic.Int64
}

func (f *faults) counts() map[string]int {
	m := map[string]int{}
	for what, n := range map[string]*atomic.Int64{
		"messages into a cut": &f.blocked, "messages lost": &f.lost, "messages twice": &f.twice, "messages overtaken": &f.overtaken,
		"messages a minute late": &f.late, "calls refused": &f.refused, "answers lost": &f.deaf,
	} {
		m[what] = int(n.Load())
	}
	return m
}

var errRefused = errors.New("connection refused")

type fate struct {
	lost, twice bool
	delay, late time.Duration
}

// latency is that of a quiet network.
const latency = time.Millisecond

func (n *network) fate(from, to string) fate {
	n.mu.Lock()
	defer n.mu.Unlock()
	link := [2]string{from, to}
	if n.cut[link] > 0 {
		n.ran.blocked.Add(1)
		return fate{lost: true}
	}
	w := n.weather
	if w == (weather{}) {
		return fate{}
	}
	n.count[link]++
	h := fnv.New64a()
	h.Write([]byte(from + ">" + to))
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, n.seed), n.count[link]))
	x := h.Sum64()
	roll := func() float64 { // splitmix64
		x += 0x9e3779b97f4a7c15
		z := x
		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb
		return float64((z^(z>>31))>>11) / (1 << 53)
	}
	f := fate{lost: roll() < w.Loss, twice: roll() < w.Twice}
	f.delay = time.Duration(roll() * float64(w.Delay))
	f.late = time.Duration(roll() * float64(w.Late))
	if f.lost {
		n.ran.lost.Add(1)
		return f
	}
	if at := time.Now().Add(f.delay); at.Before(n.latest[link]) {
		n.ran.overtaken.Add(1)
	} else {
		n.latest[link] = at
	}
	return f
}

// cutLinks has one more fault cut some links, or one less.
func (n *network) cutLinks(by int, links ...[2]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range links {
		n.cut[l] += by
	}
}

// at gives the head of that name as it runs now, or nil.
func (n *network) at(name string) *incarnation {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.heads[name]; h != nil {
		return h.now
	}
	return nil
}

// again delivers a message once more after a while.
func (n *network) again(to string, late time.Duration, deliver func(*Replica)) {
	time.AfterFunc(late, func() {
		h := n.at(to)
		if h == nil || h.off.Load() {
			return
		}
		n.ran.twice.Add(1)
		if late > time.Minute {
			n.ran.late.Add(1)
		}
		deliver(h.r)
	})
}

// simLink is a head's way into the network.
type simLink struct {
	net  *network
	from *incarnation
}

func (l *simLink) run(ctx context.Context) error { <-ctx.Done(); return nil }

func (l *simLink) send(to string, digest []byte) {
	if l.from.off.Load() {
		return
	}
	f := l.net.fate(l.from.name, to)
	if f.lost {
		return
	}
	deliver := func() {
		if h := l.net.at(to); h != nil && !h.off.Load() {
			h.r.heard(digest)
		}
	}
	if f.delay == 0 {
		deliver()
	} else {
		time.AfterFunc(f.delay, deliver)
	}
	if f.twice {
		l.net.again(to, f.delay+f.late, func(r *Replica) { r.heard(digest) })
	}
}

// call does not come back before ctx ends where a message is lost, either way.
func (l *simLink) call(ctx context.Context, to, what string, body []byte) ([]byte, error) {
	silence := func() ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
	if l.from.off.Load() {
		return silence()
	}
	f := l.net.fate(l.from.name, to)
	if f.lost {
		return silence()
	}
	quiet := latency
	if what == callTime {
		quiet = 0 // the most frequent one: two timers less
	}
	if !sleep(ctx, quiet+f.delay) {
		return nil, ctx.Err()
	}
	h := l.net.at(to)
	if h == nil || h.off.Load() {
		l.net.ran.refused.Add(1)
		return nil, errRefused
	}
	if f.twice && what == callPush {
		l.net.again(to, f.late, func(r *Replica) { _, _ = r.serve(context.Background(), l.from.name, what, body) })
	}
	answer, err := h.r.serve(ctx, l.from.name, what, body)
	back := l.net.fate(to, l.from.name)
	if h.off.Load() || back.lost {
		l.net.ran.deaf.Add(1)
		return silence()
	}
	if !sleep(ctx, quiet+back.delay) {
		return nil, ctx.Err()
	}
	if err != nil {
		p, word := problemOf(err)
		err = remoteProblem(to, p, word)
	}
	return answer, err
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
