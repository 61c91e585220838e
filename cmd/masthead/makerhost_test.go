package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestCheckHost(t *testing.T) {
	for host, ok := range map[string]bool{
		"serverb": true, "serverb.example.org": true, "serverb:2222": true, "10.77.0.2": true, "10.77.0.2:22": true, "fd00::2": true,
		"[fd00::2]:22": true, "[fd00::2]": true, "52:54:00:12:34:56": true, "52-54-00-12-34-56": true, "n_01": true,
		"zz:zz": false, "52:54:00:12:34": false, "root@serverb": false, "serverb:0": false, "serverb:99999": false, "": false, "-x": false, "a b": false,
	} {
		if err := checkHost(host); (err == nil) != ok {
			t.Errorf("%q: %v", host, err)
		}
	}
	_, stderr, code := invoke(t, "master-maker", "zz:zz")
	if want := `HOST "zz:zz": want a name, an address, or a MAC address`; code != exitUsage || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d: %s, want %s", code, stderr, want)
	}
}

func TestIsOwn(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd00::1")}
	names := map[string]string{"head1.example.org": "10.77.0.1", "localhost": "127.0.0.1", "serverb": "10.77.0.2"}
	lookup := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if a, ok := names[host]; ok {
			return []netip.Addr{netip.MustParseAddr(a)}, nil
		}
		return nil, errors.New("no such host")
	}
	for host, want := range map[string]bool{
		"10.77.0.1": true, "10.77.0.1:22": true, "fd00::1": true, "[fd00::1]:22": true, "::ffff:10.77.0.1": true, "127.0.0.1": true,
		"head1.example.org": true, "localhost:2222": true, "serverb": false, "10.77.0.2": false, "nobody": false,
	} {
		if got := isOwn(t.Context(), host, own, lookup); got != want {
			t.Errorf("%s: %t, want %t", host, got, want)
		}
	}
}
