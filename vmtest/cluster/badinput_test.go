package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"masthead/node/wire"
)

// plainHTTP is the name under which the lab forwards the head's port for firmware.
const plainHTTP = "http"

// headAddress is what a head of the shipped definition takes where nobody serves DHCP.
const headAddress = "10.77.0.1"

// refuseBadChanges asks the head for changes that make no sense, or that would give one thing to two nodes.
func (l *life) refuseBadChanges(t *testing.T) {
	text := func(s string) *string { return &s }
	free, taken := "52:54:00:99:99:01", l.Machine("n01").MAC(0)
	for _, test := range []struct {
		name   string
		change wire.NodeChange
		status int
		want   string // in the answer
	}{
		{"a name that is taken", wire.NodeChange{Name: text("n01"), MAC: &free}, http.StatusConflict, "there is a node of this name already"},
		{"a MAC address that is taken", wire.NodeChange{Name: text("n09"), MAC: &taken}, http.StatusConflict, "it is the MAC address of n01"},
		{"an address that is taken", wire.NodeChange{Name: text("n09"), MAC: &free, Address: text(reserved)}, http.StatusConflict, "it is the address of n01"},
		{"the head's address", wire.NodeChange{Name: text("n09"), MAC: &free, Address: text(headAddress)}, http.StatusConflict, "head1"},
		{"an address of elsewhere", wire.NodeChange{Name: text("n09"), MAC: &free, Address: text("192.0.2.1")}, http.StatusBadRequest, "not in the cluster's network"},
		{"a name that is a path", wire.NodeChange{Name: text("../n09"), MAC: &free}, http.StatusBadRequest, "want a host name"},
		{"an image that is not there", wire.NodeChange{Name: text("n09"), MAC: &free, Image: text("nosuch")}, http.StatusBadRequest, "no such image"},
		{"arguments that break the script", wire.NodeChange{Name: text("n09"), MAC: &free, Cmdline: text("quiet\nexit")}, http.StatusBadRequest, "cmdline"},
	} {
		_, err := l.head.AddNode(t.Context(), test.change)
		var p *wire.ProblemError
		if !errors.As(err, &p) || p.Status != test.status || !strings.Contains(p.Detail, test.want) {
			t.Errorf("%s: got %v, want status %d with %q", test.name, err, test.status, test.want)
			continue
		}
		if test.status == http.StatusConflict && p.Try() == "" {
			t.Errorf("%s: %s: nothing to try", test.name, p.Detail)
		}
	}
	out, err := masthead(t, l.remote([]string{"node", "add", "n01", "--mac", free})...)
	if err == nil || !strings.Contains(out, "error: ") || !strings.Contains(out, "try: masthead node show n01") {
		t.Errorf("node add of a name that is taken: %v, printed\n%s", err, out)
	}
	if out, err = masthead(t, l.remote([]string{"node", "show", "n09"})...); err == nil || !strings.Contains(out, "no node has this name") {
		t.Errorf("node show of no node: %v, printed\n%s", err, out)
	}
}

// refuseClone says hello as a second machine with the MAC address of n01, which runs.
func (l *life) refuseClone(t *testing.T) {
	anybody := wire.NewClient(l.head.Base, l.ca, "")
	defer anybody.Close()
	spec, err := anybody.Hello(t.Context(), wire.Hello{Boot: "11111111-2222-3333-4444-555555555555", MAC: l.Machine("n01").MAC(0), Role: "worker",
		Inventory: wire.Inventory{UUID: "99999999-0000-0000-0000-000000000000", MACs: []string{l.Machine("n01").MAC(0)}}})
	if err != nil || spec.Verdict != wire.VerdictRefused || spec.Token != "" || !strings.Contains(spec.Reason, "two machines claim the name n01") || spec.Try == "" {
		t.Errorf("a second machine with the MAC address of n01 is told %+v, %v", spec, err)
	}
	n, err := l.head.Node(t.Context(), "n01")
	if err != nil || n.Phase != wire.PhaseUp {
		t.Errorf("n01 is %s after that, %v", n.Phase, err)
	}
}

// refuseTricks looks for files that nobody is to have, over the ports of firmware and of the API.
func (l *life) refuseTricks(t *testing.T) {
	head := l.Machine("head1")
	for _, path := range []string{
		"/", "/etc/shadow", "/../../etc/shadow", "/boot/", "/boot/../../../../etc/shadow", "/boot/%2e%2e/%2e%2e/etc/shadow", "/boot/..%2f..%2fetc%2fshadow",
		"//etc/shadow", "/boot//etc/shadow", `/boot/..\..\etc\shadow`, "/boot/snponly.efi/../../etc/shadow", "/boot/snponly.efi%00", "/boot/nosuch.efi",
		"/boot/" + strings.Repeat("0", 64) + "/vmlinuz", "/boot/" + l.worker.digest.Hex() + "/../../../var/lib/masthead/pki/ca.key",
		"/boot/" + l.worker.digest.Hex() + "/manifest", "/api/v1/nodes", "/api/v1/blobs/" + string(l.worker.digest),
	} {
		if status, err := rawGet(t.Context(), head.Forward(plainHTTP), path); err != nil || status != http.StatusNotFound {
			t.Errorf("GET %s over the port for firmware: %d, %v, want 404", path, status, err)
		}
	}
	if status, err := rawGet(t.Context(), head.Forward(plainHTTP), "/boot/snponly.efi"); err != nil || status != http.StatusOK {
		t.Errorf("GET of a loader: %d, %v", status, err)
	}
	if status, err := rawGet(t.Context(), head.Forward(plainHTTP), "/boot/script?mac=not-a-mac"); err != nil || status < 200 || status > 499 {
		t.Errorf("GET of a script for no MAC address: %d, %v", status, err)
	}
	for path, want := range map[string]int{
		"/etc/shadow": http.StatusNotFound, "/api/v1/nosuch": http.StatusNotFound, wire.PathNode + "..%2f..%2fetc": http.StatusNotFound,
		wire.PathBlob + "..%2f..%2fstate": http.StatusNotFound, wire.PathBlob + "sha256:" + strings.Repeat("0", 64): http.StatusNotFound,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.head.Base+path, nil)
		must(t, err)
		request.Header.Set("Authorization", "Bearer "+l.Token)
		response, err := l.head.HTTP.Do(request)
		must(t, err)
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("GET %s of the API: %s, want %d", path, response.Status, want)
		}
		request.Header.Del("Authorization")
		if response, err = l.head.HTTP.Do(request); err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Errorf("GET %s of the API without a token: %s", path, response.Status)
		}
	}
	l.refuseTFTPTricks(t)
}

// rawGet asks for a path as it stands: http.Client would tidy it.
func rawGet(ctx context.Context, addr, path string) (status int, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(replyTime)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, headAddress); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return response.StatusCode, nil
}

// TFTP (RFC 1350): operations and the packets that answer a read request.
const (
	tftpRead, tftpWrite         = 1, 2
	tftpData, tftpError, tftpOK = 3, 5, 6 // OACK of RFC 2347
)

// refuseTFTPTricks asks for files by TFTP, as no firmware does.
func (l *life) refuseTFTPTricks(t *testing.T) {
	s := newStation(t, l.Lab, "lan", "52:54:00:99:99:02", "10.77.0.90")
	request := func(op byte, name, mode string) []byte { return append([]byte{0, op}, name+"\x00"+mode+"\x00"...) }
	for i, test := range []struct {
		name   string
		packet []byte
		want   []uint16 // operations of the answer
	}{
		{"a loader", request(tftpRead, "snponly.efi", "octet"), []uint16{tftpData, tftpOK}},
		{"a path up", request(tftpRead, "../../../../etc/shadow", "octet"), []uint16{tftpError}},
		{"an absolute path", request(tftpRead, "/etc/shadow", "octet"), []uint16{tftpError}},
		{"a path of Windows", request(tftpRead, `..\..\etc\shadow`, "octet"), []uint16{tftpError}},
		{"a path through a loader", request(tftpRead, "snponly.efi/../../etc/shadow", "octet"), []uint16{tftpError}},
		{"no name", request(tftpRead, "", "octet"), []uint16{tftpError}},
		{"a long name", request(tftpRead, strings.Repeat("a", 400), "octet"), []uint16{tftpError}},
		{"a key", request(tftpRead, "/var/lib/masthead/pki/ca.key", "octet"), []uint16{tftpError}},
		{"a file to write", request(tftpWrite, "snponly.efi", "octet"), []uint16{tftpError}},
		{"a loader, after all that", request(tftpRead, "undionly.kpxe", "octet"), []uint16{tftpData, tftpOK}},
	} {
		op, err := s.tftp(t, l.Machine("head1").MAC(0), uint16(20000+i), test.packet)
		if err != nil {
			t.Errorf("TFTP of %s: %v", test.name, err)
		} else if op != test.want[0] && op != test.want[len(test.want)-1] {
			t.Errorf("TFTP of %s: answered by operation %d, want %v", test.name, op, test.want)
		}
	}
}

// tftp sends a request and gives the operation of the answer. It repeats itself, as UDP needs.
func (s *station) tftp(t *testing.T, head string, port uint16, packet []byte) (op uint16, err error) {
	to, err := net.ParseMAC(head)
	if err != nil {
		return 0, err
	}
	for range 5 {
		s.send(t, to, netip.AddrPortFrom(s.ip, port), netip.MustParseAddrPort(headAddress+":69"), packet)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		var d datagram
		d, err = s.receive(ctx, port)
		cancel()
		if err == nil && len(d.data) >= 2 {
			return binary.BigEndian.Uint16(d.data), nil
		}
	}
	return 0, fmt.Errorf("no answer: %w", err)
}

// outliveHostileDHCP sends what no client sends to the DHCP server, which must go on.
func (l *life) outliveHostileDHCP(t *testing.T) {
	s := newStation(t, l.Lab, "lan", "52:54:00:99:99:03", "10.77.0.91")
	if _, err := s.discover(t); err != nil { // it listens before it serves
		t.Fatalf("DHCP: %v", err)
	}
	server := netip.MustParseAddrPort("255.255.255.255:67")
	client := netip.MustParseAddrPort("0.0.0.0:68")
	good, err := dhcpv4.NewDiscovery(s.mac)
	must(t, err)
	whole := good.ToBytes()

	random := rand.New(rand.NewPCG(1, 2))
	var packets [][]byte
	for n := range len(whole) {
		packets = append(packets, whole[:n])
	}
	for range 300 {
		p := append([]byte(nil), whole...)
		for range 1 + random.IntN(8) {
			p[random.IntN(len(p))] = byte(random.Uint32())
		}
		packets = append(packets, p)
	}
	long := append(append([]byte(nil), whole[:240]...), 61, 255) // an option that is longer than the packet
	packets = append(packets, long, append(whole[:240:240], make([]byte, 1100)...), nil)
	// What n01 has is nobody else's to give back or to refuse.
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease} {
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(s.mac), dhcpv4.WithMessageType(kind), dhcpv4.WithClientIP(net.ParseIP(reserved)),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(reserved))), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(headAddress))))
		must(t, err)
		packets = append(packets, m.ToBytes())
	}
	for _, p := range packets {
		s.send(t, broadcastMAC, client, server, p)
	}
	// Frames that lie about their own length, down to the bare header.
	frame := s.frame(broadcastMAC, etherIPv4, udpPacket(client, server, whole))
	for n := 14; n < 60; n++ {
		must(t, s.port.Send(frame[:n]))
	}
	bent := append([]byte(nil), frame...)
	binary.BigEndian.PutUint16(bent[14+24:], 9) // UDP of one byte
	must(t, s.port.Send(bent))
	bent[14] = 0x4f // an IP header of 60 bytes
	must(t, s.port.Send(bent))

	offer, err := s.discover(t)
	if err != nil {
		t.Fatalf("DHCP after hostile packets: %v", err)
	}
	if ip, ok := netip.AddrFromSlice(offer.YourIPAddr.To4()); !ok || !netip.MustParsePrefix(headAddress+"/24").Contains(ip) || ip.String() == reserved {
		t.Errorf("DHCP after hostile packets offers %v", offer.YourIPAddr)
	}
}

// discover asks for an address, again and again as clients do, and gives the offer.
func (s *station) discover(t *testing.T) (*dhcpv4.DHCPv4, error) {
	ask, err := dhcpv4.NewDiscovery(s.mac, dhcpv4.WithBroadcast(true))
	if err != nil {
		return nil, err
	}
	for range 10 {
		s.send(t, broadcastMAC, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), ask.ToBytes())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		for {
			var d datagram
			if d, err = s.receive(ctx, 68); err != nil {
				break
			}
			answer, e := dhcpv4.FromBytes(d.data)
			if e == nil && answer.TransactionID == ask.TransactionID && answer.MessageType() == dhcpv4.MessageTypeOffer {
				cancel()
				return answer, nil
			}
		}
		cancel()
	}
	return nil, fmt.Errorf("no offer: %w", err)
}
