package ndp

import "time"

// minDelay is MIN_DELAY_BETWEEN_RAS (RFC 4861, 10), between two advertisements to all nodes.
const minDelay = 3 * time.Second

// unicastRate is how many machines are answered within a second. It is no hurry of ours but a lid on a flood: more
// machines than this do not come up on one link in the same second, and those who do ask again after 0.25 s.
const unicastRate = 1000

// pace limits what is sent. The zero value has sent nothing yet.
//
// An answer to one machine's own address goes out at once, and for each of them, however many start together. RFC
// 4861, 6.2.6, limits those to all nodes; it also delays every answer by up to 0.5 s, so that the routers of a link do
// not speak at the same moment. We are none of them and silent where there is one.
type pace struct {
	second time.Time // when the present second of unicast answers began
	sent   int       // in it

	last time.Time // to all nodes
	due  time.Time // of a multicast answer that waits; zero: none
}

// unicast reports whether one machine may be answered now.
func (p *pace) unicast(now time.Time) bool {
	if now.Sub(p.second) >= time.Second {
		p.second, p.sent = now, 0
	}
	p.sent++
	return p.sent <= unicastRate
}

// wantMulticast enters a wish to answer all nodes. One answer serves all that wait.
func (p *pace) wantMulticast(now time.Time) {
	if !p.due.IsZero() {
		return
	}
	p.due = now
	if next := p.last.Add(minDelay); !p.last.IsZero() && next.After(now) {
		p.due = next
	}
}

// multicast reports whether it is time for the answer to all nodes, and takes it as sent.
func (p *pace) multicast(now time.Time) bool {
	if p.due.IsZero() || now.Before(p.due) {
		return false
	}
	p.last, p.due = now, time.Time{}
	return true
}
