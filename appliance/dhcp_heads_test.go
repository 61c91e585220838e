package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/dhcp"
	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/node/wire"
	"masthead/vmtest/prerequisite"
)

// dhcpLab is heads that serve DHCP, each in a namespace of its own, and clients in another one, all on one bridge. The
// heads' states are joined by the simplest replicator there is, which can be cut.
type dhcpLab struct {
	t       *testing.T
	id      string
	heads   []*dhcpHead
	clients int

	mu     sync.Mutex
	whole  chan struct{} // closed: nothing is cut
	events []string
}

type dhcpHead struct {
	name string
	db   *state.DB
	reg  *registry.Registry
	stop func() // its DHCP server
}

const labClients = 8

func newDHCPLab(t *testing.T, heads int) *dhcpLab {
	t.Helper()
	prerequisite.Root(t)
	prerequisite.Programs(t, "ip", "busybox", "dhclient")
	l := &dhcpLab{t: t, id: fmt.Sprintf("mh%x", time.Now().UnixNano()&0xfffffff), whole: make(chan struct{}), clients: labClients}
	close(l.whole)
	for _, ns := range []string{"s", "c", "1", "2"} {
		out, err := exec.Command("ip", "netns", "add", l.id+ns).CombinedOutput()
		prerequisite.Have(t, err == nil, "network namespaces ("+strings.TrimSpace(string(out))+")")
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", l.id+ns).Run() })
	}
	l.ip("s", "link", "add", "br0", "type", "bridge")
	l.ip("s", "link", "set", "br0", "up")
	cable := func(ns, name, mac string) {
		port := ns + name
		l.ip("s", "link", "add", port, "type", "veth", "peer", "name", name, "address", mac, "netns", l.id+ns)
		l.ip("s", "link", "set", port, "master", "br0", "up")
		l.ip(ns, "link", "set", name, "up")
	}
	for i := range labClients {
		cable("c", fmt.Sprintf("lan%d", i), fmt.Sprintf("02:00:00:00:01:%02x", i))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
		for _, h := range l.heads {
			h.stop()
			h.db.Close()
		}
		if t.Failed() {
			t.Logf("events:\n%s", strings.Join(l.events, "\n"))
		}
	})
	for i := range heads {
		ns := fmt.Sprint(i + 1)
		cable(ns, "lan0", "02:00:00:00:00:f"+ns)
		l.ip(ns, "link", "set", "lo", "up")
		l.ip(ns, "addr", "add", "10.9.0."+ns+"/24", "dev", "lan0")
		db, err := state.Open(state.Config{Dir: t.TempDir(), Head: "head" + ns})
		if err != nil {
			t.Fatal(err)
		}
		l.heads = append(l.heads, &dhcpHead{name: "head" + ns, db: db, stop: func() {}})
	}
	for _, from := range l.heads {
		for _, to := range l.heads {
			if from != to {
				w := from.db.Follow()
				running.Go(func() { l.replicate(ctx, w, to) })
			}
		}
	}
	l.found()
	for i, h := range l.heads {
		l.open(h)
		running.Go(func() { _ = h.reg.Run(ctx) })
		l.serve(h, i+1)
	}
	return l
}

func (l *dhcpLab) ip(ns string, args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", l.id + ns}, args...)...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// found writes who the heads are and what each gives away.
func (l *dhcpLab) found() {
	l.t.Helper()
	var ops []state.Op
	put := func(kind state.Kind, name string, v any) {
		op, err := state.Put(kind, name, v)
		if err != nil {
			l.t.Fatal(err)
		}
		ops = append(ops, op)
	}
	for i, h := range l.heads {
		put(state.KindHead, h.name, wire.HeadRecord{Address: netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)})})
	}
	for slot := range state.Slots {
		put(state.KindSlot, state.SlotName(slot), state.Slot{Head: l.heads[slot%len(l.heads)].name})
	}
	if _, err := l.heads[0].db.Apply(l.t.Context(), state.Origin{Who: "test"}, ops...); err != nil {
		l.t.Fatal(err)
	}
	l.await("the heads' records", func() bool { return len(l.heads[1].db.List(state.KindSlot, "")) == state.Slots })
}

func (l *dhcpLab) replicate(ctx context.Context, w *state.Watch, to *dhcpHead) {
	defer w.Close()
	for {
		records, _, err := w.NextSeq(ctx)
		if err != nil {
			return
		}
		l.mu.Lock()
		whole := l.whole
		l.mu.Unlock()
		select {
		case <-whole:
		case <-ctx.Done():
			return
		}
		if _, err := to.db.Merge(ctx, records); err != nil {
			l.note("merge at %s: %v", to.name, err)
		}
	}
}

func (l *dhcpLab) isWhole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.whole:
		return true
	default:
		return false
	}
}

func (l *dhcpLab) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole = make(chan struct{})
}

func (l *dhcpLab) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.whole)
}

func (l *dhcpLab) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, fmt.Sprintf(format, args...))
}

func (l *dhcpLab) open(h *dhcpHead) {
	l.t.Helper()
	var err error
	h.reg, err = registry.New(registry.Config{
		Store: h.db, Head: h.name, HeadAlive: func(string) bool { return l.isWhole() },
		ApplyAt: func(ctx context.Context, head string, o state.Origin, ops ...state.Op) (state.Ack, []state.Record, error) {
			for _, other := range l.heads {
				if other.name != head || !l.isWhole() {
					continue
				}
				ack, err := other.db.Apply(ctx, o, ops...)
				if err != nil {
					return ack, nil, err
				}
				var keys []state.Key
				for _, op := range ops {
					keys = append(keys, op.Key)
				}
				records, err := other.db.Records(keys)
				if err == nil {
					_, err = h.db.Merge(ctx, records)
				}
				return ack, records, err
			}
			return state.Ack{}, nil, errors.New("no route to host")
		},
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// serve runs a head's DHCP server until stop is called, and returns when it listens.
func (l *dhcpLab) serve(h *dhcpHead, n int) {
	l.t.Helper()
	db := leases{reg: h.reg}
	s, err := dhcp.New(dhcp.Config{
		Interface: "lan0", Mode: dhcp.ModeServer, Address: netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", n)), Authoritative: true,
		Pool: dhcp.Range{From: netip.MustParseAddr("10.9.0.1"), To: netip.MustParseAddr("10.9.0.20")}, HTTPBase: fmt.Sprintf("http://10.9.0.%d", n),
	}, db, db)
	if err != nil {
		l.t.Fatal(err)
	}
	s.Event = func(e dhcp.Event) { l.note("%s: %s %s %s %s", h.name, e.Kind, e.MAC, e.IP, e.Detail) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.in(fmt.Sprint(n), func() error { return s.Run(ctx) }) }()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				l.t.Errorf("%s: %v", h.name, err)
			}
		})
	}
	l.await("the server to listen", func() bool {
		out, err := exec.Command("ip", "netns", "exec", l.id+fmt.Sprint(n), "cat", "/proc/net/udp").Output()
		return err == nil && strings.Contains(string(out), ":0043 ")
	})
}

// in runs f on a thread of its own that is in a namespace.
func (l *dhcpLab) in(ns string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := unix.Open(filepath.Join("/run/netns", l.id+ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
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

// await polls the outside world, which has no event to wait for.
func (l *dhcpLab) await(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("waited a minute for %s", what)
		}
	}
}

// udhcpc runs busybox's client on a card until it has an address, and gives that, and who gave it.
func (l *dhcpLab) udhcpc(card int, args ...string) (address, server string, err error) {
	dir, err := os.MkdirTemp(l.t.TempDir(), "udhcpc")
	if err != nil {
		return "", "", err
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = bound ] && echo $ip $serverid >"+script+".out\nexit 0\n"), 0o755); err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.id + "c", "busybox", "udhcpc", "-f", "-q", "-n", "-i", fmt.Sprintf("lan%d", card), "-t", "10", "-T", "2", "-s", script}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("udhcpc: %w\n%s", err, out)
	}
	text, err := os.ReadFile(script + ".out")
	if err != nil {
		return "", "", err
	}
	words := strings.Fields(string(text))
	if len(words) != 2 {
		return "", "", fmt.Errorf("udhcpc: %q", text)
	}
	return words[0], words[1], nil
}

// all runs udhcpc on some cards at once, and checks that no two get the same address.
func (l *dhcpLab) all(from, to int) map[int]string {
	l.t.Helper()
	var mu sync.Mutex
	got := map[int]string{}
	var running sync.WaitGroup
	for card := from; card < to; card++ {
		running.Go(func() {
			address, _, err := l.udhcpc(card)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				l.t.Errorf("card %d: %v", card, err)
			}
			got[card] = address
		})
	}
	running.Wait()
	return got
}

func unique(t *testing.T, got map[int]string) {
	t.Helper()
	who := map[string]int{}
	for card, address := range got {
		if other, twice := who[address]; twice {
			t.Errorf("%s for cards %d and %d", address, card, other)
		}
		who[address] = card
	}
}

// Every head offers a machine the same address, any renews it, and none is given to two, also while the heads do not
// hear of one another.
func TestDHCPFromTwoHeads(t *testing.T) {
	l := newDHCPLab(t, 2)
	offers := func(card int) map[netip.Addr]netip.Addr {
		t.Helper()
		got := map[netip.Addr]netip.Addr{}
		err := l.in("c", func() error {
			list, err := dhcp.Detect(t.Context(), fmt.Sprintf("lan%d", card), 3*time.Second)
			for _, o := range list {
				got[o.Server] = o.Address
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	one, two := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	for card := range 2 {
		got := offers(card)
		if len(got) != 2 || got[one] != got[two] || got[one] == one || got[one] == two {
			t.Errorf("card %d is offered %v", card, got)
		}
	}

	got := l.all(0, 4)
	unique(t, got)
	for card, address := range got {
		ip := netip.MustParseAddr(address)
		for _, h := range l.heads {
			l.await("the lease to be on "+h.name, func() bool {
				lease, ok := h.reg.LeaseByIP(ip)
				return ok && lease.State == "bound" && lease.MAC == fmt.Sprintf("02:00:00:00:01:%02x", card)
			})
		}
		if both := offers(card); both[one] != ip || both[two] != ip {
			t.Errorf("card %d has %s and is offered %v", card, ip, both)
		}
	}

	// The heads stop hearing of one another. Machines that they know keep their addresses, from either; new ones get
	// addresses of the head that they take.
	l.cut()
	for card, address := range l.all(0, 2) {
		if address != got[card] {
			t.Errorf("card %d had %s, and has %s from a part of the cluster", card, got[card], address)
		}
	}
	for card, address := range l.all(4, labClients-1) {
		got[card] = address
	}
	unique(t, got)
	l.heal()
	for card, address := range got {
		for _, h := range l.heads {
			l.await("the lease to be on "+h.name, func() bool {
				lease, ok := h.reg.LeaseByMAC(fmt.Sprintf("02:00:00:00:01:%02x", card))
				return ok && lease.IP.String() == address
			})
		}
	}

	// One stops. The other renews what that one gave, and ISC's client gets along with it.
	l.heads[0].stop()
	for card := range 2 {
		address, server, err := l.udhcpc(card, "-r", got[card])
		if err != nil || address != got[card] || server != "10.9.0.2" {
			t.Errorf("card %d: %s from %s, %v; want %s", card, address, server, err, got[card])
		}
	}
	dir := t.TempDir()
	dhclient := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.id + "c", "dhclient", "-v", "-sf", "/bin/true", "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid")}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("dhclient: %v\n%s", err, out)
		}
		return string(out)
	}
	card := fmt.Sprintf("lan%d", labClients-1)
	out := dhclient("-1", card)
	if !strings.Contains(out, "from 10.9.0.2") || !strings.Contains(out, "bound to 10.9.0.") {
		t.Errorf("dhclient:\n%s", out)
	}
	dhclient("-x", card) // ends the daemon
}
