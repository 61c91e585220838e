package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// These tests put the server on a wire with programs that others wrote.

// udhcpc runs busybox's client once and returns what it learned, as its script sees it.
func (w wire) udhcpc(t testing.TB, args ...string) map[string]string {
	t.Helper()
	prerequisite.Programs(t, "busybox")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nenv > "+script+".env\nip addr flush dev $interface\nip addr add $ip/$mask dev $interface\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, append([]string{"ip", "netns", "exec", w.client, "busybox", "udhcpc", "-f", "-q", "-n", "-i", "lan0", "-t", "10", "-T", "3", "-s", script}, args...)...)
	text, err := os.ReadFile(script + ".env")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[k] = v
	}
	return got
}

func pick(m map[string]string, keys ...string) map[string]string {
	out := map[string]string{}
	for _, k := range keys {
		if v, ok := m[k]; ok {
			out[k] = v
		}
	}
	return out
}

func TestLinuxClients(t *testing.T) {
	t.Parallel()
	w := newWire(t, "10.9.0.1/24")
	db := newMemory()
	log := w.serve(t, lan, db)

	got := w.udhcpc(t)
	want := map[string]string{
		"ip": "10.9.0.180", "mask": "24", "router": "10.9.0.1", "dns": "10.9.0.1 10.9.0.2", "domain": "cluster.example",
		"ntpsrv": "10.9.0.1", "lease": "43200", "serverid": "10.9.0.1",
	}
	if diff := cmp.Diff(want, pick(got, "ip", "mask", "router", "dns", "domain", "ntpsrv", "lease", "serverid")); diff != "" {
		t.Errorf("udhcpc: -want +got:\n%s", diff)
	}
	// A client that is answered late has asked twice.
	if diff := cmp.Diff([]Kind{KindDiscover, KindOffer, KindRequest, KindAck}, slices.Compact(log.kinds())); diff != "" {
		t.Errorf("events: -want +got:\n%s", diff)
	}

	prerequisite.Programs(t, "dhclient")
	dir := t.TempDir()
	lease := filepath.Join(dir, "leases")
	dhclient := []string{"ip", "netns", "exec", w.client, "dhclient", "-1", "-v", "-sf", "/bin/true", "-lf", lease, "-pf", filepath.Join(dir, "pid")}
	out := run(t, append(dhclient, "lan0")...)
	if !strings.Contains(out, "bound to 10.9.0.180 ") {
		t.Errorf("dhclient got another address than udhcpc:\n%s", out)
	}
	out = run(t, append(dhclient, "-r", "lan0")...) // ends the daemon, too
	if !strings.Contains(out, "DHCPRELEASE of 10.9.0.180") {
		t.Errorf("dhclient -r:\n%s", out)
	}
	await(t, "the release", func() bool { return slices.Contains(log.kinds(), KindRelease) })
	if l, _ := db.LeaseByIP(ip("10.9.0.180")); l.State != Released || l.Live(time.Now()) {
		t.Errorf("after release: %+v", l)
	}

	// A reservation made now moves the machine, with its old address refused.
	db.mu.Lock()
	db.reservations[alice] = Reservation{IP: ip("10.9.0.17"), Hostname: "n17"}
	db.mu.Unlock()
	got = w.udhcpc(t, "-r", "10.9.0.180")
	if diff := cmp.Diff(map[string]string{"ip": "10.9.0.17", "hostname": "n17"}, pick(got, "ip", "hostname")); diff != "" {
		t.Errorf("reserved: -want +got:\n%s", diff)
	}
	got = w.udhcpc(t, "-B", "-C", "-x", "0x3d:ff0102030405") // broadcast replies, another client identifier
	if diff := cmp.Diff(map[string]string{"ip": "10.9.0.17"}, pick(got, "ip")); diff != "" {
		t.Errorf("other client identifier: -want +got:\n%s", diff)
	}
}

// TestConflict has a machine sit on the address that the client would get: the probe finds it.
func TestConflict(t *testing.T) {
	t.Parallel()
	w := newWire(t, "10.9.0.1/24")
	// The squatter is in the client's namespace, on an interface with a MAC of its own.
	for _, args := range [][]string{
		{"ip", "-n", w.client, "link", "add", "squat", "link", "lan0", "address", "02:00:00:00:00:77", "type", "macvlan", "mode", "bridge"},
		{"ip", "-n", w.client, "addr", "add", "10.9.0.180/32", "dev", "squat"},
		{"ip", "-n", w.client, "link", "set", "squat", "up"},
		{"ip", "netns", "exec", w.client, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore"},
	} {
		run(t, args...)
	}
	db := newMemory()
	log := w.serve(t, lan, db)
	got := w.udhcpc(t)
	if diff := cmp.Diff(map[string]string{"ip": "10.9.0.181"}, pick(got, "ip")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(log.String(), "conflict 02:00:00:00:00:01 10.9.0.180 arch=\"\" class=\"\" 02:00:00:00:00:77 answers for it") {
		t.Error("no event tells of the conflict")
	}
	if l, _ := db.LeaseByIP(ip("10.9.0.180")); l.State != Quarantined || l.Cause != (MAC{2, 0, 0, 0, 0, 0x77}) {
		t.Errorf("not in quarantine: %+v", l)
	}
}

// TestRelay plays a relay agent: what a client broadcast elsewhere arrives in unicast with giaddr set.
func TestRelay(t *testing.T) {
	t.Parallel()
	w := newWire(t, "10.9.0.1/24")
	run(t, "ip", "-n", w.client, "addr", "add", "10.9.0.5/24", "dev", "lan0")
	run(t, "ip", "-n", w.client, "addr", "add", "10.20.0.1/16", "dev", "lan0")
	run(t, "ip", "-n", w.head, "route", "add", "10.20.0.0/16", "via", "10.9.0.5")
	c := lan
	behindRelay(&c)
	w.serve(t, c, newMemory())

	var conn *net.UDPConn
	err := in(w.client, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{10, 20, 0, 1}, Port: serverPort})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(p *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		t.Helper()
		buf := make([]byte, 1500)
		var n int
		var from netip.AddrPort
		err := os.ErrDeadlineExceeded
		for tries := 0; tries < 20 && errors.Is(err, os.ErrDeadlineExceeded); tries++ { // as agents and clients do
			if _, err := conn.WriteToUDPAddrPort(p.ToBytes(), netip.MustParseAddrPort("10.9.0.1:67")); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(3 * time.Second))
			n, from, err = conn.ReadFromUDPAddrPort(buf)
		}
		if err != nil {
			t.Fatal(err)
		}
		if from != netip.MustParseAddrPort("10.9.0.1:67") {
			t.Errorf("answer came from %v", from)
		}
		r, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	req := decoded(t, "udhcpc-discover", relayed("10.20.0.1"))
	offer := ask(req)
	req.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
	req.UpdateOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr))
	req.UpdateOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))
	ack := ask(req)
	got := fmt.Sprint(offer.MessageType(), offer.YourIPAddr, ack.MessageType(), ack.YourIPAddr, ack.SubnetMask(), ack.Router(), ack.RelayAgentInfo())
	want := "OFFER 10.20.1.252 ACK 10.20.1.252 ffff0000 [10.20.0.1] \n    Agent Circuit ID Sub-option: \"port 7\" ([112 111 114 116 32 55])\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// foreign runs dnsmasq as somebody else's server, in the client's namespace, and returns when it listens.
func (w wire) foreign(t testing.TB) {
	t.Helper()
	prerequisite.Programs(t, "dnsmasq")
	run(t, "ip", "-n", w.client, "addr", "add", "10.9.0.2/24", "dev", "lan0")
	cmd := exec.Command("ip", "netns", "exec", w.client, "dnsmasq", "-C", "/dev/null", "--port=0", "-d", "--user=root",
		"--interface=lan0", "--bind-interfaces", "--dhcp-range=10.9.0.50,10.9.0.60,1h", "--no-ping",
		"--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	await(t, "dnsmasq to listen", func() bool {
		return strings.Contains(run(t, "ip", "netns", "exec", w.client, "cat", "/proc/net/udp"), ":0043 ")
	})
}

// serverTime is how long Detect waits for a server that is there: on a busy machine it needs a while.
const serverTime = 4 * time.Second

func TestDetect(t *testing.T) {
	t.Parallel()
	w := newWire(t, "10.9.0.1/24")
	detect := func(d time.Duration) (got []Offer, err error) {
		err = in(w.head, func() (err error) {
			got, err = Detect(t.Context(), "lan0", d)
			return err
		})
		return got, err
	}
	got, err := detect(500 * time.Millisecond)
	if err != nil || len(got) != 0 {
		t.Errorf("on an empty wire: %v, %v", got, err)
	}
	w.foreign(t)
	run(t, "ip", "-n", w.head, "addr", "flush", "dev", "lan0") // an address is not needed
	got, err = detect(serverTime)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Server != ip("10.9.0.2") || got[0].MAC != alice || got[0].Proxy || !netip.MustParsePrefix("10.9.0.0/24").Contains(got[0].Address) {
		t.Errorf("got %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = in(w.head, func() error { _, err := Detect(ctx, "lan0", time.Minute); return err })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestProxy boots beside dnsmasq: the address is dnsmasq's, the boot file ours, and a machine that does not boot from
// the network hears nothing from us. The firmware's part is played with its captured packets.
func TestProxy(t *testing.T) {
	t.Parallel()
	w := newWire(t, "10.9.0.1/24")
	w.foreign(t)
	c := lan
	c.Mode = ModeProxy
	log := w.serve(t, c, newMemory())

	var got []Offer
	err := in(w.client, func() error {
		// A second machine on the client's side; dnsmasq does not hear its own side, so it is the only one to answer here.
		var err error
		got, err = Detect(t.Context(), "lan0", serverTime)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Offer{{Server: ip("10.9.0.1"), MAC: MAC{2, 0, 0, 0, 0, 0xfe}, BootFile: "snponly.efi", Proxy: true}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// The boot port.
	var conn *net.UDPConn
	if err := in(w.client, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{10, 9, 0, 2}, Port: proxyPort})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	req := decoded(t, "ovmf-pxe-request", ciaddr("10.9.0.2"))
	if _, err := conn.WriteToUDPAddrPort(req.ToBytes(), netip.MustParseAddrPort("10.9.0.1:4011")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	r, err := dhcpv4.FromBytes(buf[:n])
	if err != nil || r.MessageType() != dhcpv4.MessageTypeAck || r.BootFileName != "snponly.efi" {
		t.Errorf("on port 4011: %v, %v", r, err)
	}
	for _, k := range log.kinds() {
		if k != KindOffer && k != KindAck {
			t.Errorf("event %q", k)
		}
	}
}

func TestRunTellsWhyNot(t *testing.T) {
	t.Parallel()
	w := newWire(t, "10.9.0.1/24")
	w.serve(t, lan, newMemory())
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"port taken":   {func(*Config) {}, "dhcp: listen for DHCP on lan0: listen udp4 :67: bind: address already in use"},
		"no interface": {func(c *Config) { c.Interface = "lan9" }, "dhcp: interface lan9: route ip+net: no such network interface"},
		"not Ethernet": {func(c *Config) { c.Interface = "lo" }, "dhcp: interface lo has no Ethernet address"},
	} {
		c := lan
		tt.change(&c)
		s, err := New(c, newMemory(), newMemory())
		if err != nil {
			t.Fatal(err)
		}
		err = in(w.head, func() error { return s.Run(t.Context()) })
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
}

// TestRunEnds starts a server and stops it while it is busy; that nothing stays behind is TestMain's to see.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	w := newWire(t, "10.9.0.1/24")
	s, err := New(lan, newMemory(), newMemory())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asking, asked := context.WithCancel(t.Context())
	defer asked()
	s.Probe = func(ctx context.Context, _ netip.Addr) (MAC, bool, error) {
		cancel()
		asked()
		<-ctx.Done()
		return MAC{}, false, ctx.Err()
	}
	done := make(chan error, 1)
	go func() { done <- in(w.head, func() error { return s.Run(ctx) }) }()
	await(t, "the server to listen", func() bool {
		return strings.Contains(run(t, "ip", "netns", "exec", w.head, "cat", "/proc/net/udp"), ":0043 ")
	})
	err = in(w.client, func() error { _, err := Detect(asking, "lan0", time.Minute); return err })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("nothing was probed: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}
