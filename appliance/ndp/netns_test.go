package ndp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// wire is two network namespaces with a cable between them: "lan0" in each.
type wire struct{ head, client string }

const headLocal, clientLocal = "fe80::ff:fe00:fe", "fe80::ff:fe00:1"

func newWire(t testing.TB) wire {
	t.Helper()
	prerequisite.Root(t)
	prerequisite.Programs(t, "ip")
	id := fmt.Sprintf("ndp%x", time.Now().UnixNano()&0xffffffffff)
	w := wire{id + "h", id + "c"}
	for _, ns := range []string{w.head, w.client} {
		out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput()
		prerequisite.Have(t, err == nil, "network namespaces ("+strings.TrimSpace(string(out))+")")
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	command(t, "ip", "-n", w.head, "link", "add", "lan0", "address", "02:00:00:00:00:fe", "type", "veth", "peer", "name", "lan0", "address", "02:00:00:00:00:01", "netns", w.client)
	w.sysctl(t, w.client, "accept_ra", "1")
	command(t, "ip", "-n", w.client, "link", "set", "lan0", "up")
	return w
}

func (w wire) up(t testing.TB) { command(t, "ip", "-n", w.head, "link", "set", "lan0", "up") }

func (w wire) sysctl(t testing.TB, ns, key, value string) {
	t.Helper()
	command(t, "ip", "netns", "exec", ns, "sh", "-c", fmt.Sprintf("echo %s >/proc/sys/net/ipv6/conf/lan0/%s", value, key))
}

func command(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

// in runs f on a thread of its own that is in a namespace.
func in(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := unix.Open(filepath.Join("/run/netns", ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// notes are what a Responder logs.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case n.more <- struct{}{}:
	default:
	}
	return n.text.Write(b)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// await waits until the log holds text that many times.
func (n *notes) await(t testing.TB, text string, times int) {
	t.Helper()
	end := time.After(time.Minute)
	for strings.Count(n.String(), text) < times {
		select {
		case <-n.more:
		case <-end:
			t.Fatalf("no %q in the log:\n%s", text, n)
		}
	}
}

// respond runs a Responder in the head's namespace until the test ends, when Run has to return nil.
func (w wire) respond(t testing.TB) *notes {
	t.Helper()
	n := &notes{more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- in(w.head, func() error { return New("lan0", slog.New(slog.NewTextHandler(n, nil))).Run(ctx) })
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Run does not end")
		}
	})
	return n
}

// tap sends and receives whole frames on the card of a namespace.
func tap(t testing.TB, ns string) *packet.Conn {
	t.Helper()
	var c *packet.Conn
	err := in(ns, func() error {
		nic, err := net.InterfaceByName("lan0")
		if err != nil {
			return err
		}
		c, err = packet.Listen(nic, packet.Raw, unix.ETH_P_IPV6, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sendFrame sends an ICMPv6 message whose checksum is still missing.
func sendFrame(t testing.TB, c *packet.Conn, mac net.HardwareAddr, src, dst netip.Addr, message []byte) {
	t.Helper()
	// icmp.Marshal makes the checksum over a raw body, which begins after it.
	kind := icmp.Message{Type: ipv6.ICMPType(message[0]), Body: &icmp.RawBody{Data: message[4:]}}
	payload, err := kind.Marshal(icmp.IPv6PseudoHeader(src.AsSlice(), dst.AsSlice()))
	if err != nil {
		t.Fatal(err)
	}
	to := dst.As16()
	frame := append([]byte{0x33, 0x33, to[12], to[13], to[14], to[15]}, mac...)
	frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0, byte(len(payload)>>8), byte(len(payload)), unix.IPPROTO_ICMPV6, onLink)
	frame = append(append(frame, src.AsSlice()...), to[:]...)
	if _, err := c.WriteTo(append(frame, payload...), &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		t.Fatal(err)
	}
}

// seen is an advertisement as it arrived.
type seen struct {
	From, To string
	ToMAC    string
	Hop      byte
	Message  string
}

// receive returns the first advertisement that comes within a time; not ok: none did.
func receive(t testing.TB, c *packet.Conn, within time.Duration) (seen, bool) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return seen{}, false
		}
		if err != nil {
			t.Fatal(err)
		}
		f := buffer[:n]
		if n < 14+40+advertisementLen || f[14+6] != unix.IPPROTO_ICMPV6 || f[14+40] != typeAdvertisement {
			continue
		}
		src, _ := netip.AddrFromSlice(f[22:38])
		dst, _ := netip.AddrFromSlice(f[38:54])
		m := bytes.Clone(f[54:])
		m[2], m[3] = 0, 0 // the kernel's checksum, perhaps still to be made by the card
		return seen{src.String(), dst.String(), net.HardwareAddr(f[:6]).String(), f[14+7], fmt.Sprintf("%x", m)}, true
	}
}

const advert = "86000000" + "00000000" + "0000000000000000" + "01010200000000fe"

var clientMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}

// TestAnswers has machines ask on a link, a Linux host listening, and then a router come up.
func TestAnswers(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	log := w.respond(t) // before there is an address: the card is down
	w.up(t)
	log.await(t, "answering router solicitations: no IPv6 router here", 1)
	c := tap(t, w.client)
	rs := message(typeSolicitation, solicitationLen, clientMAC)
	ask := func(src string) { sendFrame(t, c, clientMAC, netip.MustParseAddr(src), allRouters, rs) }

	t.Run("one", func(t *testing.T) {
		begin := time.Now()
		ask(clientLocal)
		got, ok := receive(t, c, time.Minute)
		t.Logf("answered after %v", time.Since(begin))
		if diff := cmp.Diff(seen{headLocal, clientLocal, clientMAC.String(), 255, advert}, got); !ok || diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		const machines = 50
		var batch strings.Builder
		for i := range machines {
			fmt.Fprintf(&batch, "addr add fe80::1:%x/64 dev lan0 nodad\n", i+1)
		}
		file := filepath.Join(t.TempDir(), "batch")
		if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		command(t, "ip", "-n", w.client, "-batch", file)
		// The kernel joins the addresses' groups a little later, and cannot be asked for its MAC before.
		for i := 0; strings.Count(command(t, "ip", "-n", w.client, "-6", "maddr", "show", "dev", "lan0"), " ff02::1:ff01:") < machines; i++ {
			if i == 1000 {
				t.Fatal("the host does not join the groups of its addresses")
			}
		}
		begin := time.Now()
		for i := range machines {
			ask(fmt.Sprintf("fe80::1:%x", i+1))
		}
		answered := map[string]bool{}
		for len(answered) < machines {
			got, ok := receive(t, c, time.Minute)
			if !ok {
				t.Fatalf("%d of %d were answered", len(answered), machines)
			}
			answered[got.To] = true
		}
		t.Logf("%d answered after %v", machines, time.Since(begin))
	})
	t.Run("without an address", func(t *testing.T) {
		bare := message(typeSolicitation, solicitationLen, nil)
		within := time.Minute // for the answer; then for none
		for i := range 3 {
			sendFrame(t, c, clientMAC, netip.IPv6Unspecified(), allRouters, bare)
			got, ok := receive(t, c, within)
			within = 300 * time.Millisecond
			if i > 0 && ok {
				t.Errorf("a second answer to all within %v: %v", minDelay, got)
			}
			if diff := cmp.Diff(seen{headLocal, allNodes.String(), "33:33:00:00:00:01", 255, advert}, got); i == 0 && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
	t.Run("rdisc6", func(t *testing.T) {
		prerequisite.Programs(t, "rdisc6")
		out := command(t, "ip", "netns", "exec", w.client, "rdisc6", "-1", "-r", "1", "-w", "30000", "lan0")
		for _, want := range []string{
			`Hop limit +: +undefined`, `Stateful address conf. +: +No`, `Stateful other conf. +: +No`,
			`Router lifetime +: +0 `, `Source link-layer address: 02:00:00:00:00:FE`, `from ` + headLocal,
		} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		if strings.Contains(out, "Prefix") {
			t.Errorf("a prefix in\n%s", out)
		}
	})
	configured := func() string {
		return command(t, "ip", "-n", w.client, "-6", "route", "show", "default") + command(t, "ip", "-n", w.client, "-6", "addr", "show", "scope", "global")
	}
	t.Run("Linux is not configured", func(t *testing.T) {
		if got := counter(t, w.client, "Icmp6InRouterAdvertisements"); got == "0" {
			t.Error("the host has heard no advertisement")
		}
		if got := configured(); got != "" {
			t.Errorf("the host learned\n%s", got)
		}
	})
	t.Run("silent beside a router", func(t *testing.T) {
		router := unhex(t, "86000000 40000708 00000000 00000000")
		// From a third machine: the host and we both hear it.
		mac, addr := net.HardwareAddr{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("fe80::9")
		sendFrame(t, tap(t, w.head), mac, addr, allNodes, router)
		sendFrame(t, c, mac, addr, allNodes, router)
		log.await(t, "there is an IPv6 router", 1)
		for ok := true; ok; {
			_, ok = receive(t, c, 100*time.Millisecond) // what others asked for before
		}
		ask(clientLocal)
		if got, ok := receive(t, c, 300*time.Millisecond); ok {
			t.Errorf("answered: %v", got)
		}
		// The host does listen to those who have something to say.
		if got := configured(); !strings.Contains(got, "default via fe80::9") {
			t.Errorf("the host learned nothing from the router: %q", got)
		}
	})
}

func counter(t testing.TB, ns, name string) string {
	t.Helper()
	for line := range strings.Lines(command(t, "ip", "netns", "exec", ns, "cat", "/proc/net/snmp6")) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			return f[1]
		}
	}
	t.Fatalf("no %s in snmp6", name)
	return ""
}

// TestRouterIsAsked has a router on the link that answers nothing but solicitations.
func TestRouterIsAsked(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.sysctl(t, w.head, "accept_ra", "0") // so that only the Responder asks
	c := tap(t, w.client)
	log := w.respond(t)
	w.up(t)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	buffer := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buffer)
		if err != nil {
			t.Fatalf("nobody asks for routers: %v", err)
		}
		if src, _ := netip.AddrFromSlice(buffer[22:38]); n > 54 && buffer[54] == typeSolicitation && src.String() == headLocal {
			break
		}
	}
	sendFrame(t, c, clientMAC, netip.MustParseAddr(clientLocal), allNodes, unhex(t, "86000000 40000708 00000000 00000000"))
	log.await(t, "there is an IPv6 router", 1)
	sendFrame(t, c, clientMAC, netip.MustParseAddr(clientLocal), allRouters, message(typeSolicitation, solicitationLen, clientMAC))
	if got, ok := receive(t, c, askTime+time.Second); ok {
		t.Errorf("answered beside a router: %v", got)
	}
}

// TestWithoutIPv6 has IPv6 switched off on the card, and on again.
func TestWithoutIPv6(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	w.sysctl(t, w.head, "disable_ipv6", "1")
	w.up(t)
	log := w.respond(t)
	log.await(t, withoutIPv6, 1)
	w.sysctl(t, w.head, "disable_ipv6", "0")
	log.await(t, "answering router solicitations: no IPv6 router here", 1)
	c := tap(t, w.client)
	ask := func() (seen, bool) {
		sendFrame(t, c, clientMAC, netip.MustParseAddr(clientLocal), allRouters, message(typeSolicitation, solicitationLen, clientMAC))
		return receive(t, c, time.Minute)
	}
	if _, ok := ask(); !ok {
		t.Error("no answer after IPv6 was switched on")
	}
	// A cable that was out may be in another network then.
	command(t, "ip", "-n", w.head, "link", "set", "lan0", "down")
	command(t, "ip", "-n", w.head, "link", "set", "lan0", "up")
	log.await(t, "answering router solicitations: no IPv6 router here", 1)
	command(t, "ip", "netns", "exec", w.client, "sh", "-c", "for i in $(seq 50); do ip -n "+w.head+" -6 addr show lan0 | grep -q tentative || break; sleep 0.1; done")
	if _, ok := ask(); !ok {
		t.Error("no answer after the link was down")
	}
	if got := strings.Count(log.String(), withoutIPv6); got != 1 {
		t.Errorf("said %d times that there is no IPv6:\n%s", got, log)
	}
}

func TestNoSuchCard(t *testing.T) {
	err := New("nosuch0", quiet()).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("got %v", err)
	}
}
