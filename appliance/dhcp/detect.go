package dhcp

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/mdlayher/packet"
)

// An Offer is another server's answer.
type Offer struct {
	Server   netip.Addr // its identifier
	MAC      MAC        // of the server or of the relay on this wire
	Address  netip.Addr // offered to us; not valid from a proxyDHCP service
	BootFile string
	Proxy    bool
}

// detectRepeat is how long after a question it is asked again: servers that probe first need up to a second.
const detectRepeat = time.Second

// maxServers bounds what is remembered of a wire full of liars.
const maxServers = 64

// Detect asks once as a Linux machine and once as PXE firmware who serves DHCP on an interface, which needs no address,
// and lists those who answered within timeout. Other heads answer too, and this process's own server does not. Nothing
// is requested, so no lease is left behind. It blocks for the whole timeout and needs CAP_NET_RAW.
func Detect(ctx context.Context, ifname string, timeout time.Duration) ([]Offer, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("detect DHCP servers: interface %s: %w", ifname, err)
	}
	mac, ok := MACFrom(ifi.HardwareAddr)
	if !ok {
		return nil, fmt.Errorf("detect DHCP servers: interface %s has no Ethernet address", ifname)
	}
	conn, err := packet.Listen(ifi, packet.Raw, etherIPv4, nil)
	if err != nil {
		return nil, fmt.Errorf("detect DHCP servers: listen on %s: %w", ifname, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	questions := []*dhcpv4.DHCPv4{question(mac), question(mac)}
	questions[1].UpdateOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016"))
	questions[1].UpdateOption(dhcpv4.OptClientArch(iana.EFI_X86_64))

	type service struct {
		server netip.Addr
		proxy  bool
	}
	found := map[service]Offer{}
	buf := make([]byte, 2048)
	end := time.Now().Add(timeout)
	for next := time.Now(); time.Now().Before(end); {
		if !time.Now().Before(next) {
			for _, q := range questions {
				if err := ask(conn, mac, q); err != nil {
					return nil, fmt.Errorf("detect DHCP servers on %s: %w", ifname, err)
				}
			}
			next = time.Now().Add(detectRepeat)
		}
		if err := conn.SetReadDeadline(earlier(next, end)); err != nil {
			return nil, fmt.Errorf("detect DHCP servers on %s: %w", ifname, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("detect DHCP servers on %s: %w", ifname, err)
		}
		o, ok := readOffer(buf[:n], questions)
		if !ok {
			continue
		}
		key := service{o.Server, o.Proxy}
		old, seen := found[key]
		if len(found) < maxServers || seen {
			o.BootFile = cmp.Or(o.BootFile, old.BootFile)
			found[key] = o
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Offer) int {
		return cmp.Or(a.Server.Compare(b.Server), a.Address.Compare(b.Address))
	}), nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func question(mac MAC) *dhcpv4.DHCPv4 {
	q := &dhcpv4.DHCPv4{
		OpCode:       dhcpv4.OpcodeBootRequest,
		HWType:       iana.HWTypeEthernet,
		ClientHWAddr: mac[:],
		Options:      dhcpv4.Options{},
	}
	rand.Read(q.TransactionID[:])
	q.SetBroadcast()
	q.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeDiscover))
	q.UpdateOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionBootfileName))
	return q
}

func ask(conn *packet.Conn, mac MAC, q *dhcpv4.DHCPv4) error {
	f := datagram{
		mac, everyStation,
		netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort), netip.AddrPortFrom(limitedBroadcast, serverPort),
		q.ToBytes(),
	}
	_, err := conn.WriteTo(f.encode(), &packet.Addr{HardwareAddr: everyStation[:]})
	return err
}

// readOffer reads a frame that may answer one of the questions.
func readOffer(frame []byte, questions []*dhcpv4.DHCPv4) (Offer, bool) {
	d, err := decodeFrame(frame)
	if err != nil || d.dst.Port() != clientPort {
		return Offer{}, false
	}
	p, err := dhcpv4.FromBytes(d.payload)
	if err != nil || p.OpCode != dhcpv4.OpcodeBootReply || p.MessageType() != dhcpv4.MessageTypeOffer {
		return Offer{}, false
	}
	if !slices.ContainsFunc(questions, func(q *dhcpv4.DHCPv4) bool { return q.TransactionID == p.TransactionID }) {
		return Offer{}, false
	}
	o := Offer{Server: addrOf(p.ServerIdentifier()), MAC: d.srcMAC, Address: addrOf(p.YourIPAddr), BootFile: printable(p.BootFileName)}
	if name := p.BootFileNameOption(); name != "" {
		o.BootFile = printable(name)
	}
	if !o.Server.IsValid() {
		o.Server = d.src.Addr()
	}
	o.Proxy = !o.Address.IsValid()
	return o, true
}
