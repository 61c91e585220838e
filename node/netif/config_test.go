package netif

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/images"
)

func TestConfig(t *testing.T) {
	tests := []struct{ cmdline, err string }{
		{"", ""},
		{"masthead.ip=none", ""},
		{"masthead.ip=10.77.0.5/24,10.77.0.1", ""},
		{"masthead.ip=auto,10.77.0.5/24", ""},
		{"masthead.ip=10.77.0.4/31", ""},
		{"masthead.ip=fd00::5/64,fd00::1", ""},
		{"masthead.ip=10.77.0.0/24", "is the network itself"},
		{"masthead.ip=10.77.0.5/24,fd00::1", "not of one family"},
		{"masthead.ip=10.77.0.5/24,10.77.0.5", "own address"},
	}
	for _, tt := range tests {
		t.Run(tt.cmdline, func(t *testing.T) {
			b, err := images.ParseBoot(tt.cmdline)
			if err != nil {
				t.Fatal(err)
			}
			c, err := FromBoot(b).withDefaults()
			switch {
			case tt.err == "" && err != nil:
				t.Error(err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("got %v, want %q", err, tt.err)
			case err == nil && (c.Timeout == 0 || c.Log == nil):
				t.Errorf("no defaults: %+v", c)
			}
		})
	}
	if _, err := (Config{Mode: images.IPAuto}).withDefaults(); err == nil {
		t.Error("mode auto without an address")
	}
}

// The agent reads what init wrote.
func TestResultAsJSON(t *testing.T) {
	want := Result{
		Link:   Link{Index: 3, Name: "eth0", MAC: mac0, Up: true, Carrier: true, Speed: 1000, Physical: true},
		Prefix: netip.MustParsePrefix("10.77.0.11/24"), Gateway: netip.MustParseAddr("10.77.0.1"),
		Lease: &Lease{Server: netip.MustParseAddr("10.77.0.1"), Acquired: 3214 * time.Millisecond, T1: 1, T2: 2, Length: Infinite},
		How:   "by dhcp from 10.77.0.1",
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Result
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
