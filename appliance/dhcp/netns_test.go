package dhcp

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"golang.org/x/sys/unix"
)

// wire is two network namespaces with a cable between them: "lan0" in each. Heads and foreign servers live in one,
// clients in the other.
type wire struct{ head, client string }

func newWire(t testing.TB, addr string) wire {
	t.Helper()
	prerequisite.Root(t)
	prerequisite.Programs(t, "ip")
	id := fmt.Sprintf("mh%x", time.Now().UnixNano()&0xffffffffff)
	w := wire{id + "h", id + "c"}
	for _, ns := range []string{w.head, w.client} {
		out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput()
		prerequisite.Have(t, err == nil, "network namespaces ("+strings.TrimSpace(string(out))+")")
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	for _, args := range [][]string{
		{"ip", "-n", w.head, "link", "add", "lan0", "address", "02:00:00:00:00:fe", "type", "veth", "peer", "name", "lan0", "address", "02:00:00:00:00:01", "netns", w.client},
		{"ip", "-n", w.head, "link", "set", "lan0", "up"},
		{"ip", "-n", w.head, "link", "set", "lo", "up"},
		{"ip", "-n", w.head, "addr", "add", addr, "dev", "lan0"},
		{"ip", "-n", w.client, "link", "set", "lan0", "up"},
	} {
		run(t, args...)
	}
	return w
}

// in runs f on a thread of its own that is in a namespace. f must not start goroutines that open sockets.
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

func run(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// events collects what a server tells.
type events struct {
	mu   sync.Mutex
	list []Event
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

func (e *events) kinds() []Kind {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Kind
	for _, ev := range e.list {
		out = append(out, ev.Kind)
	}
	return out
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, ev := range e.list {
		fmt.Fprintf(&b, "%s %s %s arch=%q class=%q %s\n", ev.Kind, ev.MAC, ev.IP, ev.Arch, ev.UserClass, ev.Detail)
	}
	return b.String()
}

// serve runs a server in the head's namespace until the test ends, and returns when it listens.
func (w wire) serve(t testing.TB, c Config, db *memory) *events {
	t.Helper()
	log := &events{}
	s, err := New(c, db, db)
	if err != nil {
		t.Fatal(err)
	}
	s.Event = log.add
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in(w.head, func() error { return s.Run(ctx) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		if t.Failed() {
			t.Logf("events:\n%s", log)
		}
	})
	await(t, "the server to listen", func() bool {
		return strings.Contains(run(t, "ip", "netns", "exec", w.head, "cat", "/proc/net/udp"), ":0043 ")
	})
	return log
}

// await polls the outside world, which has no event to wait for.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var lan = Config{
	Interface:     "lan0",
	Mode:          ModeServer,
	Address:       netip.MustParsePrefix("10.9.0.1/24"),
	Pool:          Range{netip.MustParseAddr("10.9.0.100"), netip.MustParseAddr("10.9.0.199")},
	Authoritative: true,
	Router:        netip.MustParseAddr("10.9.0.1"),
	DNS:           []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")},
	Domain:        "cluster.example",
	NTP:           []netip.Addr{netip.MustParseAddr("10.9.0.1")},
	HTTPBase:      "http://10.9.0.1",
}
