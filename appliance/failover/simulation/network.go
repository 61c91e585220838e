package simulation

import "time"

// path is one direction of one way.
type path struct {
	cut   bool
	loss  int // percent
	delay time.Duration
	twice bool
}

// ways of a heartbeat; the number is the link's place in View.Peers[].Links where all are configured.
const (
	lan = iota
	direct
	serial
	ways
)

// network is all paths as the faults leave them.
type network struct {
	lan     [nodes][nodes]path
	direct  [2]path // from head 0, from head 1
	serial  [2]path
	carrier [maxHeads]bool // of the LAN's NIC
	dcable  bool           // carrier of the direct cable
}

// shape works out the network from the faults that are on.
func (w *World) shape() {
	n := &w.net
	*n = network{dcable: true}
	for i := range n.carrier {
		n.carrier[i] = true
	}
	for i := range w.schedule.N {
		f := &w.schedule.Faults[i]
		if !w.on[i] {
			continue
		}
		switch f.What {
		case LANCut:
			n.isolate(f.A, f.X)
		case Flapping:
			if w.flapped[i] {
				n.isolate(f.A, 3)
			}
		case Parted:
			for a := range nodes {
				for b := range nodes {
					if f.X>>a&1 != f.X>>b&1 {
						n.lan[a][b].cut = true
					}
				}
			}
		case OneWay:
			n.lan[f.A][f.B].cut = true
		case GatewayDown:
			n.alone(gateway)
		case WitnessMute:
			for k := range maxWitnesses {
				if f.X>>k&1 == 1 {
					n.alone(maxHeads + k)
				}
			}
		case DirectCut:
			n.direct[0].cut = n.direct[0].cut || f.X != 2
			n.direct[1].cut = n.direct[1].cut || f.X != 1
			n.dcable = n.dcable && f.X != 3
		case SerialCut:
			n.serial[0].cut = n.serial[0].cut || f.X != 2
			n.serial[1].cut = n.serial[1].cut || f.X != 1
		case AllCut:
			n.lan[f.A][f.B].cut = true
			if f.X == 0 {
				n.lan[f.B][f.A].cut = true
			}
			if f.A < 2 && f.B < 2 {
				n.direct[f.A].cut, n.serial[f.A].cut = true, true
				if f.X == 0 {
					n.direct[f.B].cut, n.serial[f.B].cut = true, true
				}
			}
		case Lossy, Delayed, Doubled:
			for a := range nodes {
				for b := range nodes {
					if f.A < 0 || a == f.A || b == f.A {
						n.lan[a][b].spoil(f)
					}
				}
			}
		case DirectLossy:
			n.direct[0].spoil(f)
			n.direct[1].spoil(f)
		case SerialLossy:
			n.serial[0].spoil(f)
			n.serial[1].spoil(f)
		}
	}
}

func (n *network) isolate(a, how int) {
	for b := range nodes {
		if how != 2 {
			n.lan[a][b].cut = true
		}
		if how != 1 {
			n.lan[b][a].cut = true
		}
	}
	if how == 3 {
		n.carrier[a] = false
	}
}

// alone cuts off a node that is no head.
func (n *network) alone(a int) {
	for b := range nodes {
		n.lan[a][b].cut, n.lan[b][a].cut = true, true
	}
}

func (p *path) spoil(f *Fault) {
	switch f.What {
	case Delayed:
		p.delay = max(p.delay, time.Duration(f.X)*time.Millisecond)
	case Doubled:
		p.twice = true
	default:
		p.loss = max(p.loss, f.X)
	}
}

// pass sends something on a path: whether it arrives, and after how long.
func (w *World) pass(p *path, base time.Duration) (time.Duration, bool) {
	if p.cut || p.loss > 0 && w.rnd.chance(p.loss) {
		return 0, false
	}
	d := base + time.Duration(w.rnd.next()&(1<<17-1)) // 0.13 ms
	if p.delay > 0 {
		d += w.rnd.between(0, p.delay)
	}
	return d, true
}

// way is the path of heartbeats from a to b.
func (w *World) way(link, a, b int) *path {
	switch link {
	case lan:
		return &w.net.lan[a][b]
	case direct:
		return &w.net.direct[a]
	default:
		return &w.net.serial[a]
	}
}

// answers is a question to another node's kernel and its answer, both of which have to arrive within a moment.
func (w *World) answers(a, b int) bool {
	there, ok := w.pass(&w.net.lan[a][b], 0)
	if !ok {
		return false
	}
	back, ok := w.pass(&w.net.lan[b][a], 0)
	return ok && there+back < 90*time.Millisecond
}

// dataPath says whether the data engines of two heads can reach one another.
func (w *World) dataPath() bool {
	n := &w.net
	return !n.lan[0][1].cut && !n.lan[1][0].cut || w.sc.Direct && !n.direct[0].cut && !n.direct[1].cut
}

// apart says whether nothing can come through between two heads, either way.
func (n *network) apart(sc Scenario, a, b int) bool {
	return n.lan[a][b].cut && n.lan[b][a].cut && (!sc.Direct || n.direct[0].cut && n.direct[1].cut) && (!sc.Serial || n.serial[0].cut && n.serial[1].cut)
}
