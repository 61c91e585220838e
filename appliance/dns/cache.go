package dns

import (
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// key is what makes two questions the same. DNSSEC's two bits change the answer.
type key struct {
	name   string // canonical
	qtype  uint16
	do, cd bool
}

func keyOf(req *miekg.Msg) key {
	q := req.Question[0]
	opt := req.IsEdns0()
	return key{miekg.CanonicalName(q.Name), q.Qtype, opt != nil && opt.Do(), req.CheckingDisabled}
}

const (
	// maxTTL bounds the life of a foreign answer here, whatever it says: an hour of a wrong one is enough.
	maxTTL = time.Hour
	// failureTTL keeps a crowd from asking dead forwarders again and again (RFC 9520, 3.2 wants at least 1 s, and not more
	// than 5 minutes).
	failureTTL = time.Second
	// maxAnswer is the largest answer that is kept.
	maxAnswer = 4096
)

// lifetime is how long an answer may be kept (RFC 2181, 8; RFC 2308, 5); 0: not at all.
func lifetime(m *miekg.Msg) time.Duration {
	if m.Truncated || m.Len() > maxAnswer {
		return 0
	}
	switch m.Rcode {
	case miekg.RcodeSuccess, miekg.RcodeNameError:
	default:
		return failureTTL
	}
	ttl := uint32(maxTTL / time.Second)
	negative := m.Rcode == miekg.RcodeNameError || len(m.Answer) == 0
	said := !negative
	for _, rr := range m.Answer {
		ttl = min(ttl, rr.Header().Ttl)
	}
	for _, rr := range m.Ns {
		ttl = min(ttl, rr.Header().Ttl)
		if soa, ok := rr.(*miekg.SOA); ok && negative {
			ttl, said = min(ttl, soa.Minttl), true
		}
	}
	if !said {
		return 0 // a referral, or an absence of which nobody says how long it lasts
	}
	return time.Duration(ttl) * time.Second
}

// aged is a copy of an answer with the time that it lay here taken off its TTLs (RFC 2181, 8).
func aged(m *miekg.Msg, age time.Duration) *miekg.Msg {
	m = m.Copy()
	off := uint32(max(age, 0) / time.Second)
	for _, section := range [][]miekg.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != miekg.TypeOPT {
				h.Ttl -= min(h.Ttl, off)
			}
		}
	}
	return m
}

// cache keeps foreign answers. Times are arguments.
type cache struct {
	most int

	mu  sync.Mutex
	all map[key]kept
}

type kept struct {
	m       *miekg.Msg // nobody changes it
	since   time.Time
	expires time.Time
}

func newCache(most int) *cache { return &cache{most: most, all: map[key]kept{}} }

func (c *cache) get(k key, now time.Time) (*miekg.Msg, bool) {
	c.mu.Lock()
	e, ok := c.all[k]
	if ok && !now.Before(e.expires) {
		delete(c.all, k)
		ok = false
	}
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	return aged(e.m, now.Sub(e.since)), true
}

// put keeps an answer as long as it may be kept. m belongs to the cache from then on.
func (c *cache) put(k key, m *miekg.Msg, now time.Time) {
	life := lifetime(m)
	if life <= 0 || c.most <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.all[k]; !there && len(c.all) >= c.most {
		c.evict(now)
	}
	c.all[k] = kept{m, now, now.Add(life)}
}

// evictTries is how many are looked at for one that has expired: a map gives them in no order, which is as good as any
// for the one that has to go.
const evictTries = 16

func (c *cache) evict(now time.Time) {
	var victim key
	tries := 0
	for k, e := range c.all {
		if tries == 0 || !now.Before(e.expires) {
			victim = k
		}
		if tries++; tries == evictTries || !now.Before(e.expires) {
			break
		}
	}
	delete(c.all, victim)
}
