package ndp

import "time"

const (
	// minDelay is between two advertisements to all nodes (RFC 4861, 10: MIN_DELAY_BETWEEN_RAS).
	minDelay = 3 * time.Second

	// perSecond is how many machines are answered in a second: a lid on a flood, and more than start in one second on
	// one link. Who gets nothing asks again.
	perSecond = 1000
)

// pace limits the answers. The zero value has sent none.
//
// A machine that asks from its own address (iPXE does) is answered there and at once, however many start together: RFC
// 4861, 6.2.6, limits the advertisements to all nodes only. It delays every answer by up to 0.5 s, so that the routers
// of a link do not all speak at the same moment; we are silent where there is one.
type pace struct {
	multicast time.Time // the last one
	second    time.Time // the present one began
	unicasts  int       // in it
}

// allows reports whether an answer may be sent now, and takes it as sent. One to all nodes that may not is dropped: the
// last one has reached all who waited for it, others ask again after 4 s at the latest.
func (p *pace) allows(now time.Time, toAll bool) bool {
	if toAll {
		if !p.multicast.IsZero() && now.Sub(p.multicast) < minDelay {
			return false
		}
		p.multicast = now
		return true
	}
	if now.Sub(p.second) >= time.Second {
		p.second, p.unicasts = now, 0
	}
	p.unicasts++
	return p.unicasts <= perSecond
}
