package service

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"masthead/appliance/failover"
	"masthead/vmtest/prerequisite"
)

// cable is a network namespace with an interface lan0 that has 10.1.4.2/24; its other end is lan1.
type cable struct {
	t    *testing.T
	name string
}

func newCable(t *testing.T) (cable, kernelLinks) {
	t.Helper()
	prerequisite.Root(t)
	prerequisite.Programs(t, "ip")
	c := cable{t, fmt.Sprintf("svc%x", time.Now().UnixNano()&0xffffffffff)}
	out, err := exec.Command("ip", "netns", "add", c.name).CombinedOutput()
	prerequisite.Have(t, err == nil, "network namespaces ("+strings.TrimSpace(string(out))+")")
	t.Cleanup(func() { exec.Command("ip", "netns", "del", c.name).Run() })
	c.ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
	c.ip("link", "set", "lan0", "up")
	c.ip("link", "set", "lan1", "up")
	c.ip("addr", "add", "10.1.4.2/24", "dev", "lan0")
	ns, err := netns.GetFromName(c.name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return c, kernelLinks{h}
}

func (c cable) ip(args ...string) {
	c.t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", c.name}, args...)...).CombinedOutput(); err != nil {
		c.t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// Add and Remove make a cable the Addresses of a group, without a gate.
func (c cable) Add(_ context.Context, p netip.Prefix, nic string) error {
	return exec.Command("ip", "-n", c.name, "addr", "replace", p.String(), "dev", nic).Run()
}

func (c cable) Remove(_ context.Context, p netip.Prefix, nic string) error {
	_ = exec.Command("ip", "-n", c.name, "addr", "del", p.String(), "dev", nic).Run()
	return nil
}

func TestIP(t *testing.T) {
	c, links := newCable(t)
	s := newStage(t)
	s.cfg.Addresses = c
	address := netip.MustParsePrefix("10.1.4.150/24")
	s.cfg.Services = []Service{{Name: "VirtualHTTP", MaxRestarts: 1, Resources: []Resource{
		{IP: &IP{Address: address, MonitorLink: true}, Interval: often}, {Script: s.script("httpd", "")},
	}}}
	group, err := New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	group.world.links = links
	ctx, cancel := context.WithCancel(t.Context())
	s.group, s.cancel, s.ended = group, cancel, make(chan error, 1)
	go func() { s.ended <- group.Run(ctx) }()
	defer s.kill()
	has := func() string {
		nic, err := links.has(address.Addr())
		if err != nil {
			t.Fatal(err)
		}
		return nic
	}
	group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	if got := has(); got != "lan0" {
		t.Errorf("the address is on %q, want lan0", got)
	}
	s.done()
	c.ip("addr", "del", address.String(), "dev", "lan0") // somebody takes it away
	s.until("mended", func() bool { return has() == "lan0" && s.group.States()[0].State == StateStarted })
	if diff := cmp.Diff([]string{"httpd stop", "httpd start"}, s.done()); diff != "" {
		t.Errorf("what is after the address (-want +got):\n%s", diff)
	}
	c.ip("link", "set", "lan1", "down") // the cable is pulled
	s.wait(failover.ServicesFailed)
	if got, want := group.Relocate(), "service VirtualHTTP: 10.1.4.150: check: lan0 has no carrier; failed 2 times within 10m0s"; got != want {
		t.Errorf("relocate for %q, want %q", got, want)
	}
	s.until("removed", func() bool { return has() == "" && !s.up("httpd") })
	group.Wish(failover.Stop, 23)
	s.wait(failover.ServicesStopped)
	if got, err := links.within(netip.MustParsePrefix("192.0.2.1/24")); err == nil {
		t.Errorf("192.0.2.0/24 is on %s", got)
	}
}

// TestOCFAddress has Debian's IPaddr2 add an address in a namespace.
func TestOCFAddress(t *testing.T) {
	needAgents(t)
	c, links := newCable(t)
	dir := t.TempDir()
	wrapper := filepath.Join(dir, "IPaddr2")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nexec ip netns exec "+c.name+" /usr/lib/ocf/resource.d/heartbeat/IPaddr2 \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := world{run: execute, log: quiet()}
	do := func(o op, want verdict) {
		t.Helper()
		r := w.operate(t.Context(), job{service: "web", op: o, limit: 20 * time.Second, env: []string{"PATH=" + path},
			res: Resource{OCF: &OCF{Agent: wrapper, Params: map[string]string{"ip": "10.1.4.151", "cidr_netmask": "24", "nic": "lan0"}}}})
		if o == check && r.verdict != want || o != check && r.err != nil {
			t.Fatalf("%v: %+v", o, r)
		}
	}
	address := netip.MustParseAddr("10.1.4.151")
	do(check, down)
	do(start, 0)
	if nic, err := links.has(address); err != nil || nic != "lan0" {
		t.Errorf("the address is on %q, %v", nic, err)
	}
	do(check, up)
	do(stop, 0)
	if nic, err := links.has(address); err != nil || nic != "" {
		t.Errorf("the address is still on %q, %v", nic, err)
	}
	do(check, down)
	do(stop, 0)
}
