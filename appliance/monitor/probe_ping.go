package monitor

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	defaultPings = 3
	// pingEvery is between two requests: an answer from the same site takes less.
	pingEvery = 300 * time.Millisecond
)

// family is what differs between ICMP (RFC 792) and ICMPv6 (RFC 4443).
type family struct {
	network, listen string
	request, reply  icmp.Type
	protocol        int
}

func familyOf(addr netip.Addr) family {
	if addr.Unmap().Is4() {
		return family{"ip4:icmp", "0.0.0.0", ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply, 1}
	}
	return family{"ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58}
}

func (p *Ping) probe(ctx context.Context, host string) Result {
	what := "ping"
	addr, err := resolve(ctx, host)
	if err != nil {
		return failure(ctx, what, err)
	}
	f := familyOf(addr)
	conn, err := icmp.ListenPacket(f.network, f.listen)
	if err != nil {
		return unknown("%s: %v", what, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	// Every raw socket gets all echo replies of this machine: the data tells ours.
	mark := make([]byte, 24)
	rand.Read(mark)
	count := p.Count
	if count == 0 {
		count = defaultPings
	}
	to := &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
	began := time.Now()
	buf := make([]byte, 1500)
	for n := 1; n <= count && ctx.Err() == nil; n++ {
		message := icmp.Message{Type: f.request, Body: &icmp.Echo{ID: int(mark[0])<<8 | int(mark[1]), Seq: n, Data: mark}}
		packet, err := message.Marshal(nil)
		if err != nil {
			return unknown("%s: %v", what, err)
		}
		if _, err := conn.WriteTo(packet, to); err != nil {
			return failure(ctx, what, err)
		}
		wait := time.Now().Add(pingEvery)
		if last, ok := ctx.Deadline(); n == count && ok {
			wait = last
		}
		conn.SetReadDeadline(wait)
		for ctx.Err() == nil {
			size, _, err := conn.ReadFrom(buf)
			if err != nil {
				break
			}
			got, err := icmp.ParseMessage(f.protocol, buf[:size])
			if err != nil || got.Type != f.reply {
				continue
			}
			if echo, ok := got.Body.(*icmp.Echo); ok && bytes.Equal(echo.Data, mark) {
				return up("ping: answered after %d of %d in %s", n, count, time.Since(began).Round(10*time.Microsecond))
			}
		}
	}
	return failure(ctx, what, context.DeadlineExceeded)
}

// resolve finds the address of a host, which may be one.
func resolve(ctx context.Context, host string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap(), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(addrs) == 0 {
		return netip.Addr{}, &net.DNSError{Name: host, Err: "it has no address"}
	}
	return addrs[0].Unmap(), nil
}
