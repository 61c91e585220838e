package dhcp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestComplete(t *testing.T) {
	got, err := lan.Complete()
	if err != nil {
		t.Fatal(err)
	}
	want := lan
	want.NextServer = ip("10.9.0.1")
	want.BootFiles = DefaultBootFiles()
	want.LeaseTime, want.OfferTime, want.QuarantineTime = 12*time.Hour, time.Minute, 30*time.Minute
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCompleteNamesAllFaults(t *testing.T) {
	addr := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"nothing set", func(c *Config) { *c = Config{} }, []string{
			`dhcp: mode "": want server, proxy or off`,
			`dhcp: interface "": name the interface to serve`,
			`dhcp: address "invalid Prefix": want an IPv4 address with its prefix length`,
			`dhcp: http base "": want a URL as http://10.0.0.1`,
		}},
		{"network's address", func(c *Config) { c.Address = addr("10.9.0.0/24") }, []string{`dhcp: address "10.9.0.0/24": is not a host's address`}},
		{"IPv6", func(c *Config) { c.Address = addr("fd00::1/64") }, []string{`dhcp: address "fd00::1/64": want an IPv4 address with its prefix length`}},
		{"pool elsewhere", func(c *Config) { c.Pool = Range{ip("10.8.0.1"), ip("10.9.0.9")} }, []string{`dhcp: pool "10.8.0.1-10.9.0.9": both ends must be hosts of 10.9.0.0/24`}},
		{"pool with the broadcast address", func(c *Config) { c.Pool.To = ip("10.9.0.255") }, []string{`dhcp: pool "10.9.0.100-10.9.0.255": both ends must be hosts of 10.9.0.0/24`}},
		{"half a pool", func(c *Config) { c.Pool.To = netip.Addr{} }, []string{`dhcp: pool "10.9.0.100-invalid IP": both ends must be hosts of 10.9.0.0/24`}},
		{"pool backwards", func(c *Config) { c.Pool.To = ip("10.9.0.99") }, []string{`dhcp: pool "10.9.0.100-10.9.0.99": ends before it starts`}},
		{"pool too large", func(c *Config) {
			c.Address = addr("10.0.0.1/8")
			c.Router = netip.Addr{}
			c.Pool = Range{ip("10.1.0.0"), ip("10.2.0.0")}
		}, []string{`dhcp: pool "10.1.0.0-10.2.0.0": more than 65536 addresses`}},
		{"router elsewhere", func(c *Config) { c.Router = ip("10.8.0.1") }, []string{`dhcp: router "10.8.0.1": is not a host of 10.9.0.0/24`}},
		{"relayed overlaps", func(c *Config) { c.Relayed = []Subnet{{Prefix: addr("10.9.0.0/16")}} }, []string{`dhcp: relayed[0].prefix "10.9.0.0/16": overlaps 10.9.0.0/24`}},
		{"DNS of the other kind", func(c *Config) { c.DNS = []netip.Addr{ip("fd00::1")} }, []string{`dhcp: dns "fd00::1": want IPv4 addresses`}},
		{"lease of seconds", func(c *Config) { c.LeaseTime = time.Second }, []string{`dhcp: lease time "1s": want 1m0s or more`}},
		{"negative time", func(c *Config) { c.OfferTime = -1 }, []string{`dhcp: offer time "-1ns": want 1s or more`}},
		{"base is no URL", func(c *Config) { c.HTTPBase = "10.9.0.1" }, []string{`dhcp: http base "10.9.0.1": want a URL as http://10.0.0.1`}},
		{"long file", func(c *Config) { c.BootFiles.BIOS = strings.Repeat("x", 128) }, []string{`dhcp: boot file BIOS "` + strings.Repeat("x", 128) + `": longer than the 127 bytes of the header's field`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := lan
			tt.change(&c)
			_, err := c.Complete()
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOffDemandsNothing(t *testing.T) {
	if _, err := (Config{Mode: ModeOff}).Complete(); err != nil {
		t.Error(err)
	}
}
