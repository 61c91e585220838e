package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Ingress says how a request reached us.
type Ingress struct {
	Source netip.AddrPort
	// Unicast tells that the packet was sent to our own address: a renewal, maybe through routers, or by a relay.
	Unicast bool
	// Port is ours: 67, or 4011 for the second step of proxyDHCP.
	Port uint16
}

const (
	serverPort = 67
	clientPort = 68
	proxyPort  = 4011 // PXE 2.1
)

// Decision is what to do about a request.
type Decision struct {
	Reply *dhcpv4.DHCPv4 // nil: no answer
	To    Destination
	// Lease is to be held before the reply is sent: an Offered one in memory, any other in the Store.
	Lease *Lease
	// Probe, if valid, is an address to look for on the wire first. If somebody but the client has it, quarantine it and
	// decide again.
	Probe netip.Addr
	// Declined tells that the client took another server's offer: what is held for it is free again.
	Declined bool
	// Heard is the request, Outcome what becomes of it once the effects succeed. Either may be of no Kind: not worth noting.
	Heard, Outcome Event
}

// Answer decides. It needs a Config that Complete returned, and has no effects.
func (c Config) Answer(req *dhcpv4.DHCPv4, in Ingress, db View, now time.Time) Decision {
	cl, err := inspect(req)
	a := answer{Config: c, req: req, in: in, db: db, now: now, cl: cl}
	if err != nil {
		return a.ignore("%v", err)
	}
	if c.Mode == ModeProxy {
		return a.proxy()
	}
	if c.Mode != ModeServer || in.Port != serverPort {
		return Decision{}
	}
	if err := a.locate(); err != nil {
		return a.ignore("%v", err)
	}
	switch t := req.MessageType(); t {
	case dhcpv4.MessageTypeDiscover:
		return a.discover()
	case dhcpv4.MessageTypeRequest:
		return a.request()
	case dhcpv4.MessageTypeDecline:
		return a.decline()
	case dhcpv4.MessageTypeRelease:
		return a.release()
	case dhcpv4.MessageTypeInform:
		return a.inform()
	default:
		return a.ignore("message type %d is not for a server", t)
	}
}

// answer is one request being decided.
type answer struct {
	Config
	req *dhcpv4.DHCPv4
	in  Ingress
	db  View
	now time.Time
	cl  client

	subnet Subnet
	id     netip.Addr // server identifier that this client knows us by
}

// locate finds the subnet that the client is in.
func (a *answer) locate() error {
	a.id = a.Address.Addr()
	at := a.Address.Addr()
	switch {
	case a.cl.giaddr.IsValid():
		at = a.cl.giaddr
		if info := a.req.RelayAgentInfo(); info != nil {
			// RFC 3527: the relay names the client's link where giaddr is another.
			if ip := addrOf(info.Get(dhcpv4.LinkSelectionSubOption)); ip.IsValid() {
				at = ip
			}
			// RFC 5107: the relay wants to stay in the path of renewals.
			if ip := addrOf(info.Get(dhcpv4.ServerIdentifierOverrideSubOption)); ip.IsValid() {
				a.id = ip
			}
		}
	case a.cl.ciaddr.IsValid() && a.in.Unicast:
		// A renewal comes straight from the client, through routers, without a relay's word (RFC 2131, 4.3.2).
		if _, ok := a.subnetOf(a.cl.ciaddr); ok {
			at = a.cl.ciaddr
		}
	}
	var ok bool
	if a.subnet, ok = a.subnetOf(at); !ok {
		return fmt.Errorf("relayed from %v, which is in no subnet of ours", at)
	}
	if gi := a.cl.giaddr; gi.IsValid() && (!gi.IsGlobalUnicast() || a.subnet.Prefix.Contains(gi) && !hostIn(a.subnet.Prefix, gi)) {
		return fmt.Errorf("relayed from %v, which is no relay's address", gi)
	}
	return nil
}

func (a *answer) discover() Decision {
	d := Decision{Heard: a.event(KindDiscover, netip.Addr{}, "")}
	ch, err := a.choose(a.cl.mac, a.subnet, a.db, a.now)
	if err != nil {
		return a.unserved(d, ch, err)
	}
	file := a.bootFile(a.cl, a.req)
	d.Reply = a.addressReply(dhcpv4.MessageTypeOffer, ch, file)
	d.To = a.destination(d.Reply)
	l := a.lease(ch.ip, Offered, a.OfferTime)
	d.Lease = &l
	if ch.fresh && !a.cl.giaddr.IsValid() {
		d.Probe = ch.ip // ARP does not reach behind a relay
	}
	d.Outcome = a.event(KindOffer, ch.ip, a.detail(ch.note, file))
	return d
}

// request tells apart the states of RFC 2131, 4.3.2 by what the client has filled in.
func (a *answer) request() Decision {
	want := addrOf(a.req.RequestedIPAddress())
	selecting := false
	if opt := a.req.Options.Get(dhcpv4.OptionServerIdentifier); len(opt) > 0 {
		if id := addrOf(opt); id != a.id {
			d := a.ignore("chose the server %q", a.req.ServerIdentifier().String())
			d.Declined = true
			return d
		}
		selecting = true
	}
	switch ci := a.cl.ciaddr; {
	case !want.IsValid():
		want = ci
	case ci.IsValid() && ci != want:
		// The reply goes to ciaddr: a forged one would make us shoot at a third party.
		return a.ignore("requests %v from %v", want, ci)
	}
	if !want.IsValid() {
		return a.ignore("requests no address")
	}
	d := Decision{Heard: a.event(KindRequest, want, "")}
	ch, err := a.choose(a.cl.mac, a.subnet, a.db, a.now)
	known := err == nil && !ch.fresh
	// Servers that do not know the client stay silent, for another may (RFC 2131, 4.3.2); but who chose us, or asks in a
	// subnet that is ours alone, is told.
	if !selecting && !known && !a.Authoritative {
		d.Outcome = a.event(KindIgnored, want, "not our client")
		return d
	}
	if !selecting && !a.subnet.Prefix.Contains(want) && !a.Authoritative {
		d.Outcome = a.event(KindIgnored, want, "not an address of "+a.subnet.Prefix.String())
		return d
	}
	// What a client believes that we do not know, a head that does not answer may have told it.
	if !selecting && !known && !a.db.Whole() && a.subnet.Prefix.Contains(want) {
		d.Outcome = a.event(KindIgnored, want, "not known here, and not all heads answer")
		return d
	}
	// A client that we know nothing of keeps the address that it believes in, if the pool can spare it: a head that lost
	// its leases, or another that took over, must not make machines move.
	if err == nil && ch.fresh && want != ch.ip && a.poolAddress(want, a.cl.mac, a.subnet, a.db) && a.keeps(want) {
		ch.ip = want
	}
	switch {
	case errors.Is(err, errExhausted) || errors.Is(err, errNoPool):
		return a.nak(d, want, err.Error())
	case want != ch.ip:
		return a.nak(d, want, fmt.Sprintf("%v is not yours, %v is", want, ch.ip))
	}
	file := a.bootFile(a.cl, a.req)
	d.Reply = a.addressReply(dhcpv4.MessageTypeAck, ch, file)
	d.To = a.destination(d.Reply)
	l := a.lease(ch.ip, Bound, a.LeaseTime)
	d.Lease = &l
	d.Outcome = a.event(KindAck, ch.ip, a.detail(ch.note, file))
	return d
}

// keeps tells whether a client may have an address that it believes in, though we know of no lease.
func (a *answer) keeps(want netip.Addr) bool {
	l, ok := a.db.LeaseByIP(want)
	if !ok || l.MAC == a.cl.mac || l.vacant() {
		return a.db.Gives(want)
	}
	return reclaims(l, a.db, a.now)
}

func (a *answer) nak(d Decision, want netip.Addr, why string) Decision {
	d.Reply = a.emptyReply(dhcpv4.MessageTypeNak)
	d.Reply.UpdateOption(dhcpv4.OptMessage(why))
	if a.cl.giaddr.IsValid() {
		d.Reply.SetBroadcast() // for the relay: the client may not have the address (RFC 2131, 4.3.2)
	}
	d.To = a.destination(d.Reply)
	d.Outcome = a.event(KindNak, want, why)
	return d
}

// unserved is a discover that gets no offer.
func (a *answer) unserved(d Decision, ch choice, err error) Decision {
	kind := KindIgnored
	if errors.Is(err, errExhausted) {
		kind = KindExhausted
		err = fmt.Errorf("%w %v-%v", err, a.subnet.Pool.From, a.subnet.Pool.To)
	}
	d.Outcome = a.event(kind, netip.Addr{}, a.detail(ch.note, err.Error()))
	return d
}

func (a *answer) decline() Decision {
	ip := addrOf(a.req.RequestedIPAddress())
	if why := a.notHeld(ip); why != "" {
		return a.ignore("declines %v: %s", ip, why)
	}
	l := a.quarantine(ip, a.cl.mac, a.now)
	return Decision{Lease: &l, Outcome: a.event(KindDecline, ip, "the client found it in use")}
}

func (a *answer) release() Decision {
	ip := a.cl.ciaddr
	if why := a.notHeld(ip); why != "" {
		return a.ignore("releases %v: %s", ip, why)
	}
	l := a.lease(ip, Released, 0)
	return Decision{Lease: &l, Outcome: a.event(KindRelease, ip, "")}
}

// notHeld says why a client has no say about an address. Without this one stranger could quarantine a whole pool.
func (a *answer) notHeld(ip netip.Addr) string {
	if opt := a.req.Options.Get(dhcpv4.OptionServerIdentifier); len(opt) > 0 && addrOf(opt) != a.id {
		return "got it from another server"
	}
	l, ok := a.db.LeaseByIP(ip)
	if !ok || l.MAC != a.cl.mac || !l.Live(a.now) || !a.subnet.Prefix.Contains(ip) {
		return "not its address"
	}
	return ""
}

func (a *answer) inform() Decision {
	if !hostIn(a.subnet.Prefix, a.cl.ciaddr) {
		return a.ignore("asks for options with no address of %v", a.subnet.Prefix)
	}
	r, _ := a.db.Reservation(a.cl.mac)
	file := a.bootFile(a.cl, a.req)
	d := Decision{Outcome: a.event(KindInform, a.cl.ciaddr, a.detail("", file))}
	d.Reply = a.emptyReply(dhcpv4.MessageTypeAck)
	a.setOptions(d.Reply, r.Hostname)
	a.setBoot(d.Reply, file)
	trim(d.Reply, a.req)
	d.To = a.destination(d.Reply)
	return d
}

func (a *answer) lease(ip netip.Addr, state State, d time.Duration) Lease {
	return Lease{
		IP: ip, MAC: a.cl.mac, State: state, Renewed: a.now, Expires: a.now.Add(d),
		ClientID: a.cl.clientID, UUID: a.cl.uuid, Hostname: a.cl.hostname,
	}
}

// quarantine is the lease that keeps an address from everybody.
func (c Config) quarantine(ip netip.Addr, cause MAC, now time.Time) Lease {
	return Lease{IP: ip, State: Quarantined, Renewed: now, Expires: now.Add(c.QuarantineTime), Cause: cause}
}

func (a *answer) ignore(format string, args ...any) Decision {
	return Decision{Outcome: a.event(KindIgnored, netip.Addr{}, fmt.Sprintf(format, args...))}
}

func (a *answer) event(k Kind, ip netip.Addr, detail string) Event {
	return Event{
		Time: a.now, Kind: k, MAC: a.cl.mac, IP: ip,
		Arch: a.cl.arch, UserClass: a.cl.userClass, Detail: detail,
	}
}

// detail joins what there is to say; a client that came to boot and has no loader is worth a word.
func (a *answer) detail(note, rest string) string {
	if rest == "" && (a.cl.pxe || a.cl.http) {
		rest = "no boot file for this client"
	}
	if note != "" && rest != "" {
		return note + "; " + rest
	}
	return note + rest
}
