package arena

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Arena is one network of namespaces. Close removes it.
type Arena struct {
	id       string
	machines map[string]*Machine
	cables   []*Cable
	number   int
	starts   chan func() // run by starter, until Close
}

// Machine is one namespace with a card lan0 on the switch.
type Machine struct {
	Name    string
	NS      string // of ip-netns(8)
	Address netip.Prefix
	MAC     net.HardwareAddr
	arena   *Arena

	mu      sync.Mutex
	running []*exec.Cmd
}

// Network is the network of every arena. Its machines are 10.9.0.1 and so on.
var Network = netip.MustParsePrefix("10.9.0.0/24")

// NIC is the card of every machine.
const NIC = "lan0"

// switchName is the namespace of the switch.
const switchName = "sw"

// New makes an arena with a switch and the named machines, with the addresses 10.9.0.1, 10.9.0.2 and so on in their order.
func New(names ...string) (_ *Arena, err error) {
	a := &Arena{id: fmt.Sprintf("mh%x", os.Getpid()), machines: map[string]*Machine{}, starts: make(chan func())}
	for n := 0; ; n++ { // several arenas of one process
		if _, err := os.Stat("/run/netns/" + a.ns(switchName)); errors.Is(err, os.ErrNotExist) {
			break
		}
		a.id = fmt.Sprintf("mh%x-%d", os.Getpid(), n)
	}
	go starter(a.starts)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err := ip("netns", "add", a.ns(switchName)); err != nil {
		return nil, err
	}
	if err := a.onSwitch("link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"); err != nil {
		return nil, err
	}
	if err := a.onSwitch("link", "set", "br0", "up"); err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := a.add(name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *Arena) ns(name string) string { return a.id + "-" + name }

func (a *Arena) onSwitch(args ...string) error {
	return ip(append([]string{"-n", a.ns(switchName)}, args...)...)
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (a *Arena) add(name string) error {
	a.number++
	m := &Machine{
		Name: name, NS: a.ns(name), arena: a, Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(a.number)}), Network.Bits()),
		MAC: net.HardwareAddr{0x02, 0, 0, 0, 9, byte(a.number)},
	}
	if err := ip("netns", "add", m.NS); err != nil {
		return err
	}
	a.machines[name] = m
	for _, args := range [][]string{
		{"-n", m.NS, "link", "add", NIC, "address", m.MAC.String(), "type", "veth", "peer", "name", m.port(), "netns", a.ns(switchName)},
		{"-n", a.ns(switchName), "link", "set", m.port(), "master", "br0", "up"},
		{"-n", m.NS, "addr", "add", m.Address.String(), "dev", NIC},
		{"-n", m.NS, "link", "set", NIC, "up"},
		{"-n", m.NS, "link", "set", "lo", "up"},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) port() string { return "p-" + m.Name }

// Machine gives a machine by name; nil without one.
func (a *Arena) Machine(name string) *Machine { return a.machines[name] }

// NameOf is the machine whose card has that MAC address, or the address itself.
func (a *Arena) NameOf(mac string) string {
	for name, m := range a.machines {
		if m.MAC.String() == mac {
			return name
		}
	}
	return mac
}

// Close kills what runs and removes the namespaces.
func (a *Arena) Close() error {
	var errs []error
	for _, m := range a.machines {
		errs = append(errs, m.Kill())
	}
	close(a.starts)
	for _, c := range a.cables {
		c.close()
	}
	for _, m := range a.machines {
		errs = append(errs, ip("netns", "del", m.NS))
	}
	if _, err := os.Stat("/run/netns/" + a.ns(switchName)); err == nil {
		errs = append(errs, ip("netns", "del", a.ns(switchName)))
	}
	return errors.Join(errs...)
}

// Cut takes the machine's cable out of the switch, or puts it back in. Its own card keeps its link, as with a switch that
// fails.
func (m *Machine) Cut(cut bool) error {
	if cut {
		return m.arena.onSwitch("link", "set", m.port(), "nomaster")
	}
	return m.arena.onSwitch("link", "set", m.port(), "master", "br0")
}

// PowerCut is what a power cut looks like from outside: nothing of the machine is on the network any more, and all that ran
// on it is killed. Its kernel goes on, unseen; PowerOn cleans it.
func (m *Machine) PowerCut() error {
	return errors.Join(m.Cut(true), m.Kill())
}

// PowerOn makes the namespace what a machine is after a boot: no addresses but its own, no packet filter.
func (m *Machine) PowerOn() error {
	_, _ = m.Run("nft", "flush", "ruleset") // where there is none, there is nothing to flush
	for _, args := range [][]string{
		{"-n", m.NS, "addr", "flush", "dev", NIC},
		{"-n", m.NS, "addr", "add", m.Address.String(), "dev", NIC},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return m.Cut(false)
}

// In runs f in the machine's namespace: sockets that it opens stay there.
func (m *Machine) In(f func() error) error {
	done := make(chan error, 1)
	go func() { // a thread that was elsewhere ends with its goroutine, which never unlocks it
		runtime.LockOSThread()
		ns, err := netns.GetFromName(m.NS)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Wire is the machine's network as frames, for a prober.
type Wire struct{ conn *packet.Conn }

// Wire opens it. The caller closes it.
func (m *Machine) Wire() (*Wire, error) {
	var w Wire
	err := m.In(func() error {
		nic, err := net.InterfaceByName(NIC)
		if err != nil {
			return err
		}
		w.conn, err = packet.Listen(nic, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("machine %s: frames: %w", m.Name, err)
	}
	return &w, nil
}

// Close frees the socket; Receive then fails.
func (w *Wire) Close() error { return w.conn.Close() }

// Send sends a frame.
func (w *Wire) Send(frame []byte) error {
	_, err := w.conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
	return err
}

// Receive waits for a frame.
func (w *Wire) Receive(ctx context.Context, buffer []byte) (int, error) {
	stop := context.AfterFunc(ctx, func() { _ = w.conn.Close() })
	defer stop()
	n, _, err := w.conn.ReadFrom(buffer)
	return n, err
}

// SwitchNS is the namespace of the switch.
func (a *Arena) SwitchNS() string { return a.ns(switchName) }
