package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"masthead/appliance/failover"
	"masthead/vmtest/prerequisite"
)

// insides are what the test binary does in a network namespace of its own, which is empty but for a loopback that is down.
var insides = map[string]func() error{"network": network}

// inside runs one of insides. A process of its own, since goroutines change threads, and threads have namespaces.
func inside(t *testing.T, name string) {
	t.Helper()
	prerequisite.Root(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "MASTHEAD_INSIDE="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	prerequisite.Have(t, !errors.Is(err, syscall.EPERM), "network namespaces")
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNetwork(t *testing.T) { inside(t, "network") }

// network sees a cable lan0 -- lan1, of which lan0 has addresses, and pings over it.
func network() error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0"}, PeerName: "lan1"}); err != nil {
		return err
	}
	lan0, err := netlink.LinkByName("lan0")
	if err != nil {
		return err
	}
	lan1, err := netlink.LinkByName("lan1")
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	var errs []error
	link := (&Link{NIC: "lan0"}).probe()
	expect := func(what string, p probe, reading failover.Reading, summary string) {
		if got := timed(context.Background(), p, 1500*time.Millisecond); got.Reading != reading || got.Summary != summary {
			errs = append(errs, fmt.Errorf("%s: %s %q (%s), want %s %q", what, got.Reading, got.Summary, got.Detail, reading, summary))
		}
	}
	ping := func(host string) probe { return probeOf(Monitor{Hosts: []string{host}, Ping: &Ping{}}, nil) }
	expect("no such card", (&Link{NIC: "lan9"}).probe(), failover.Unknown, "lan9: Link not found")
	expect("switched off", link, failover.Down, "lan0 is switched off")
	expect("no network", ping("127.0.0.1"), failover.Down, "127.0.0.1: ping: network is unreachable")
	for _, l := range []netlink.Link{lo, lan0} {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	expect("no carrier", link, failover.Down, "lan0 has no carrier")
	if err := netlink.LinkSetUp(lan1); err != nil {
		return err
	}
	expect("carrier", link, failover.Up, "")
	for _, text := range []string{"10.77.0.1/24", "fd77::1/64"} {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		addr.Flags = syscall.IFA_F_NODAD
		if err := netlink.AddrAdd(lan0, addr); err != nil {
			return err
		}
	}
	for _, host := range []string{"127.0.0.1", "10.77.0.1", "::1", "fd77::1"} {
		expect("ping "+host, ping(host), failover.Up, "")
	}
	// Nobody has these: ARP and ND say so after 3 s, the check's time is over before.
	for _, host := range []string{"10.77.0.9", "fd77::9"} {
		expect("ping "+host, ping(host), failover.Down, host+": ping: no answer in time")
	}
	if err := netlink.LinkDel(lan0); err != nil {
		return err
	}
	expect("pulled", link, failover.Down, "lan0 is gone")
	return errors.Join(errs...)
}
