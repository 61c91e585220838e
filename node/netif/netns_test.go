package netif

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
)

// namespaced marks a process that runs one test in a namespace of its own.
const namespaced = "NETIF_TEST_IN_NAMESPACE"

// TestMain lets many tests run at once: they wait for DHCP's timers, they do not compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// elsewhere runs the test that calls it in a process in a network namespace of its own, beside the other tests, and
// returns true when that is done: a namespace belongs to a thread, and Up has several goroutines. In that process it
// returns false.
func elsewhere(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaced) != "" {
		return false
	}
	prerequisite.Root(t)
	t.Parallel()
	parts := strings.Split(t.Name(), "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.count=1", "-test.run="+strings.Join(parts, "/"))
	cmd.Env = append(os.Environ(), namespaced+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	_, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case failed:
		t.Errorf("%v\n%s", err, out)
	case err != nil:
		prerequisite.Missing(t, "a network namespace: %v", err)
	case bytes.Contains(out, []byte("--- SKIP: "+t.Name()+" ")):
		t.Skipf("%s", out)
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")):
		t.Errorf("did not run:\n%s", out)
	}
	return true
}

// network is the other end: a namespace with servers in it. Only a test that is elsewhere may make one.
type network struct {
	t   *testing.T
	ns  netns.NsHandle
	nl  *netlink.Handle
	dir string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
	nl, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nl.Close(); ns.Close() })
	return &network{t: t, ns: ns, nl: nl, dir: t.TempDir()}
}

// inside calls f on a thread that is in the network's namespace: sockets and processes that it makes stay there.
func (n *network) inside(f func() error) {
	n.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		n.t.Fatal(err)
	}
	defer home.Close()
	if err := netns.Set(n.ns); err != nil {
		n.t.Fatal(err)
	}
	err = f()
	if err := netns.Set(home); err != nil {
		n.t.Fatal(err)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// plug makes a NIC here whose cable ends in the network, at an interface of that name and address. Without an address
// the far end stays down: no carrier.
func (n *network) plug(nic, mac, far, address string) {
	n.t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		n.t.Fatal(err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nic, HardwareAddr: hw}, PeerName: far,
		PeerNamespace: netlink.NsFd(int(n.ns))}
	if err := netlink.LinkAdd(veth); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { netlink.LinkDel(veth) })
	if address != "" {
		n.connect(far, address)
	}
}

func (n *network) connect(far, address string) {
	n.t.Helper()
	l, err := n.nl.LinkByName(far)
	if err != nil {
		n.t.Fatal(err)
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.nl.AddrAdd(l, a); err != nil {
		n.t.Fatal(err)
	}
	if err := n.nl.LinkSetUp(l); err != nil {
		n.t.Fatal(err)
	}
}

// dnsmasq serves DHCP in the network. stop ends it; it also ends with the test.
func (n *network) dnsmasq(args ...string) (log func() string, stop func()) {
	n.t.Helper()
	prerequisite.Programs(n.t, "dnsmasq")
	logFile := filepath.Join(n.dir, fmt.Sprintf("dnsmasq-%d.log", time.Now().UnixNano()))
	// Each server forgets the leases of the one before.
	cmd := exec.Command("dnsmasq", append([]string{"--keep-in-foreground", "--conf-file=/dev/null", "--user=root",
		"--no-resolv", "--no-hosts", "--port=0", "--pid-file", "--no-ping", "--dhcp-authoritative", "--log-dhcp",
		"--bind-interfaces", "--log-facility=" + logFile, "--dhcp-leasefile=" + logFile + ".leases"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	n.inside(cmd.Start)
	read := func() string {
		b, _ := os.ReadFile(logFile)
		return string(b)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	stop = func() { cmd.Process.Kill(); <-ended }
	n.t.Cleanup(stop)
	until(n.t, "dnsmasq to serve", func() bool {
		select {
		case <-ended:
			n.t.Fatalf("dnsmasq ended: %s %s", stderr.String(), read())
		default:
		}
		return strings.Contains(read(), "DHCP, IP range") // said with the sockets open
	})
	return read, stop
}

// until polls a foreign process, which has no other way to tell.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// server answers in the network as no real server does.
func (n *network) server(far string, answer func(*dhcpv4.DHCPv4) []*dhcpv4.DHCPv4) {
	n.t.Helper()
	var conn net.PacketConn
	n.inside(func() (err error) {
		conn, err = nclient4.NewRawUDPConn(far, nclient4.ServerPort)
		return err
	})
	done := make(chan struct{})
	n.t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			k, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			req, err := dhcpv4.FromBytes(buf[:k])
			if err != nil {
				continue
			}
			for _, p := range answer(req) {
				conn.WriteTo(p.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: nclient4.ClientPort})
			}
		}
	}()
}

func reply(req *dhcpv4.DHCPv4, t dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	p, err := dhcpv4.NewReplyFromRequest(req, append([]dhcpv4.Modifier{dhcpv4.WithMessageType(t),
		dhcpv4.WithServerIP(net.IPv4(10, 77, 0, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 77, 0, 1)))}, mods...)...)
	if err != nil {
		panic(err)
	}
	return p
}

// addresses are the IPv4 addresses of a link with their lifetimes: "10.77.0.11/24", or with " 120s" if it ends.
func addresses(t *testing.T, nic string) []string {
	t.Helper()
	l, err := netlink.LinkByName(nic)
	if err != nil {
		t.Fatal(err)
	}
	list, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range list {
		s := a.IPNet.String()
		if const32 := 0xffffffff; a.ValidLft != 0 && a.ValidLft != const32 {
			s += fmt.Sprintf(" %ds", a.ValidLft)
		}
		out = append(out, s)
	}
	return out
}

func defaultGateways(t *testing.T) []string {
	t.Helper()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range routes {
		if r.Gw != nil {
			out = append(out, r.Gw.String())
		}
	}
	return out
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func unset(t *testing.T, nic string, p netip.Prefix) {
	t.Helper()
	l, err := netlink.LinkByName(nic)
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(p.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrDel(l, a); err != nil {
		t.Fatal(err)
	}
}
