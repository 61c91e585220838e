package dns

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

// fill makes the answer to a question out of an entry: what there is of the type asked for, or why there is nothing
// (RFC 2308, 2: NXDOMAIN or an empty answer, each with the zone's SOA).
func (z zones) fill(m *miekg.Msg, e entry, names Names) {
	q := m.Question[0]
	m.Authoritative = true
	if !e.exists {
		m.Rcode = miekg.RcodeNameError
	}
	for _, rr := range z.records(q.Name, e, names) {
		if q.Qtype == miekg.TypeANY || q.Qtype == rr.Header().Rrtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(m.Answer) == 0 {
		soa := z.soa(e.zone, names)
		soa.Hdr.Ttl = soa.Minttl // RFC 2308, 3: the smaller of both
		m.Ns = append(m.Ns, soa)
	}
	for _, rr := range m.Answer {
		if ns, ok := rr.(*miekg.NS); ok {
			m.Extra = append(m.Extra, z.glue(ns, names)...)
		}
	}
}

// records are all that a name has. Their owner is spelled as in the question: some resolvers put chance into upper and
// lower case, and check it (RFC 4343 lets us).
func (z zones) records(owner string, e entry, names Names) []miekg.RR {
	var all []miekg.RR
	if miekg.CanonicalName(owner) == e.zone {
		all = append(all, z.soa(e.zone, names))
		for _, head := range names.Heads() {
			all = append(all, &miekg.NS{Hdr: header(owner, miekg.TypeNS, TTL), Ns: head + "." + z.domain})
		}
	}
	if e.host != "" {
		all = append(all, &miekg.PTR{Hdr: header(owner, miekg.TypePTR, TTL), Ptr: e.host})
	}
	return append(all, addresses(owner, e.addrs)...)
}

func addresses(owner string, addrs []netip.Addr) (all []miekg.RR) {
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			all = append(all, &miekg.A{Hdr: header(owner, miekg.TypeA, TTL), A: net.IP(a.AsSlice())})
		} else if a.IsValid() {
			all = append(all, &miekg.AAAA{Hdr: header(owner, miekg.TypeAAAA, TTL), AAAA: net.IP(a.WithZone("").AsSlice())})
		}
	}
	return all
}

// glue is the addresses of a name server.
func (z zones) glue(ns *miekg.NS, names Names) []miekg.RR {
	e, _ := z.find(miekg.CanonicalName(ns.Ns), names)
	return addresses(ns.Ns, e.addrs)
}

// soa is a zone's. Nobody transfers our zones, so its times and its serial number are of no consequence, and the same
// on all heads; but the last one is how long the absence of a name is remembered.
func (z zones) soa(zone string, names Names) *miekg.SOA {
	first := z.domain
	if heads := names.Heads(); len(heads) > 0 {
		first = heads[0] + "." + z.domain
	}
	return &miekg.SOA{
		Hdr: header(zone, miekg.TypeSOA, TTL), Ns: first, Mbox: "hostmaster." + z.domain,
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: uint32(NegativeTTL / time.Second),
	}
}

func header(name string, rrtype uint16, ttl time.Duration) miekg.RR_Header {
	return miekg.RR_Header{Name: name, Rrtype: rrtype, Class: miekg.ClassINET, Ttl: uint32(ttl / time.Second)}
}

// The largest answers by UDP: without EDNS (RFC 1035, 4.2.1), and with it, where a larger one would be cut into
// fragments on some way (RFC 9715, 3.1).
const (
	plainSize = miekg.MinMsgSize
	ednsSize  = 1232
)

// finish gives an answer the form that the question asked for. reason, if not nil, tells people who look with dig why
// the answer is none (RFC 8914).
func finish(req, m *miekg.Msg, udp bool, reason *miekg.EDNS0_EDE) {
	m.Compress = true
	// The OPT record is between two hops (RFC 6891, 6.2.6): a forwarder's is not the client's.
	m.Extra = slices.DeleteFunc(m.Extra, func(rr miekg.RR) bool { return rr.Header().Rrtype == miekg.TypeOPT })
	size := plainSize
	if opt := req.IsEdns0(); opt != nil {
		size = min(max(int(opt.UDPSize()), plainSize), ednsSize)
		reply := &miekg.OPT{Hdr: miekg.RR_Header{Name: ".", Rrtype: miekg.TypeOPT}}
		reply.SetUDPSize(ednsSize)
		if opt.Do() { // RFC 3225, 3
			reply.SetDo()
		}
		if reason != nil {
			reply.Option = append(reply.Option, reason)
		}
		m.Extra = append(m.Extra, reply)
	} else if m.Rcode > 15 {
		m.Rcode = miekg.RcodeServerFailure // its upper bits would have been in the OPT record
	}
	if !udp {
		size = miekg.MaxMsgSize
	}
	m.Truncate(size)
}

// maxReason bounds the text of a reason: it has to fit beside the question into the smallest answer.
const maxReason = 160

func because(code uint16, err error) *miekg.EDNS0_EDE {
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\n", "; "), "?")
	return &miekg.EDNS0_EDE{InfoCode: code, ExtraText: text[:min(len(text), maxReason)]}
}
