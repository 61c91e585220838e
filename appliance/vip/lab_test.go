package vip

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"golang.org/x/sys/unix"
)

// lab is network namespaces whose "lan0" are on one bridge. Machine n has hardware address 02:00:00:00:00:0n and the
// addresses 10.77.0.n and fd77::n.
type lab struct {
	t  testing.TB
	id string
	n  map[string]int
}

var (
	vip4 = netip.MustParsePrefix("10.77.0.100/24")
	vip6 = netip.MustParsePrefix("fd77::100/64")
	both = []Address{{vip4, "lan0"}, {vip6, "lan0"}}
)

func newLab(t testing.TB, machines ...string) *lab {
	t.Helper()
	prerequisite.Root(t)
	prerequisite.Programs(t, "ip", "nft", "ping")
	l := &lab{t: t, id: fmt.Sprintf("vip%x", time.Now().UnixNano()&0xffffffffff), n: map[string]int{}}
	for _, m := range append([]string{"switch"}, machines...) {
		out, err := exec.Command("ip", "netns", "add", l.ns(m)).CombinedOutput()
		prerequisite.Have(t, err == nil, "network namespaces ("+strings.TrimSpace(string(out))+")")
		t.Cleanup(func() { exec.Command("ip", "netns", "del", l.ns(m)).Run() })
	}
	l.ip("switch", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	l.ip("switch", "link", "set", "br0", "up")
	for i, m := range machines {
		l.n[m] = i + 1
		l.ip(m, "link", "set", "lo", "up")
		l.plug(m, "lan0", i+1)
		l.ip(m, "addr", "add", l.addr4(m)+"/24", "dev", "lan0")
		l.ip(m, "addr", "add", l.addr6(m)+"/64", "dev", "lan0", "nodad")
	}
	return l
}

func (l *lab) ns(machine string) string    { return l.id + machine }
func (l *lab) addr4(machine string) string { return fmt.Sprintf("10.77.0.%d", l.n[machine]) }
func (l *lab) addr6(machine string) string { return fmt.Sprintf("fd77::%d", l.n[machine]) }
func (l *lab) mac(machine string) string   { return fmt.Sprintf("02:00:00:00:00:%02x", l.n[machine]) }

// plug connects an interface of a machine to the switch.
func (l *lab) plug(machine, nic string, n int) {
	l.t.Helper()
	port := fmt.Sprintf("p%d", n)
	l.ip("switch", "link", "add", port, "type", "veth", "peer", "name", nic, "address", fmt.Sprintf("02:00:00:00:00:%02x", n), "netns", l.ns(machine))
	l.ip("switch", "link", "set", port, "master", "br0", "up")
	l.up(machine, nic)
}

// up takes an interface up without duplicate address detection of its link-local address, which would take a second.
func (l *lab) up(machine, nic string) {
	l.t.Helper()
	dad := func(on string) {
		l.exec(machine, "sh", "-c", "echo "+on+" >/proc/sys/net/ipv6/conf/"+strings.ReplaceAll(nic, "/", ".")+"/accept_dad")
	}
	dad("0")
	l.ip(machine, "link", "set", nic, "up")
	await(l.t, "a link-local address", func() bool {
		out := l.ip(machine, "-6", "addr", "show", "dev", nic, "scope", "link")
		return strings.Contains(out, "fe80::") && !strings.Contains(out, "tentative")
	})
	dad("1")
}

func (l *lab) ip(machine string, args ...string) string {
	l.t.Helper()
	return l.run(append([]string{"ip", "-n", l.ns(machine)}, args...)...)
}

func (l *lab) exec(machine string, args ...string) string {
	l.t.Helper()
	return l.run(append([]string{"ip", "netns", "exec", l.ns(machine)}, args...)...)
}

func (l *lab) run(args ...string) string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// in runs f on a thread in a machine's namespace. Sockets that it opens stay there.
func (l *lab) in(machine string, f func() error) {
	l.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := unix.Open(filepath.Join("/run/netns", l.ns(machine)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		l.t.Fatal(err)
	}
}

// await polls the outside world, which has no event to wait for, and returns how long it took.
func await(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("waited 20 s for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(begin)
}

// has reports whether an address is on an interface of a machine.
func (l *lab) has(machine string, p netip.Prefix) bool {
	l.t.Helper()
	return strings.Contains(l.ip(machine, "-o", "addr", "show"), " "+p.String()+" ")
}

// neighbor is the hardware address that a machine knows for another's address.
func (l *lab) neighbor(machine string, a netip.Addr) string {
	l.t.Helper()
	f := strings.Fields(l.ip(machine, "neigh", "show", a.String(), "dev", "lan0"))
	if i := slices.Index(f, "lladdr"); i >= 0 && i+1 < len(f) {
		return f[i+1]
	}
	return ""
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
