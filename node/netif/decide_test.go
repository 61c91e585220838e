package netif

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/images"
)

func TestDecide(t *testing.T) {
	const s = time.Second
	cfg := func(m images.IPMode, nic string) Config {
		return Config{Mode: m, NIC: nic, Appear: 30 * s, Carrier: 20 * s, Timeout: 60 * s, Probe: 4 * s}
	}
	dark, lit := []Link{{Name: "eth0"}}, []Link{{Name: "eth0", Up: true, Carrier: true}}
	ib := []Link{{Name: "ib0", InfiniBand: true, Carrier: true}}
	tests := []struct {
		name string
		c    Config
		v    view
		want step
	}{
		{"nothing yet", cfg(images.IPDHCP, ""), view{elapsed: 1 * s, appeared: -1, carrier: -1}, step{until: 30 * s}},
		{"nothing ever", cfg(images.IPStatic, ""), view{elapsed: 30 * s, appeared: -1, carrier: -1}, step{do: fail, cause: NoNIC}},
		{"not the one", cfg(images.IPAuto, "eth9"), view{elapsed: 30 * s, appeared: -1, carrier: -1}, step{do: fail, cause: NoSuchNIC}},

		{"static", cfg(images.IPStatic, ""), view{elapsed: 2 * s, candidates: lit, appeared: 1 * s, carrier: 2 * s},
			step{do: takeStatic, why: "static"}},
		{"static, dark", cfg(images.IPStatic, ""), view{elapsed: 2 * s, candidates: dark, appeared: 1 * s, carrier: -1}, step{until: 21 * s}},
		{"static, dark for long", cfg(images.IPStatic, ""), view{elapsed: 21 * s, candidates: dark, appeared: 1 * s, carrier: -1},
			step{do: takeStatic, why: "static, without carrier for 20s"}},

		{"dhcp, dark", cfg(images.IPDHCP, ""), view{elapsed: 2 * s, candidates: dark, appeared: 1 * s, carrier: -1}, step{until: 21 * s}},
		{"dhcp, dark for long", cfg(images.IPDHCP, ""), view{elapsed: 21 * s, candidates: dark, appeared: 1 * s, carrier: -1},
			step{do: fail, cause: NoCarrier}},
		{"dhcp, asking", cfg(images.IPDHCP, ""), view{elapsed: 21 * s, candidates: lit, appeared: 1 * s, carrier: 3 * s}, step{until: 63 * s}},
		{"dhcp, asking while the link flaps", cfg(images.IPDHCP, ""), view{elapsed: 40 * s, candidates: dark, appeared: 1 * s, carrier: 3 * s},
			step{until: 63 * s}},
		{"dhcp, in vain", cfg(images.IPDHCP, ""), view{elapsed: 63 * s, candidates: lit, appeared: 1 * s, carrier: 3 * s}, step{do: fail}},
		{"dhcp on InfiniBand", cfg(images.IPDHCP, "ib0"), view{elapsed: 2 * s, candidates: ib, appeared: 1 * s, carrier: 2 * s},
			step{do: fail, cause: NoDHCP}},

		{"auto, dark", cfg(images.IPAuto, ""), view{elapsed: 20 * s, candidates: dark, appeared: 1 * s, carrier: -1}, step{until: 21 * s}},
		{"auto, dark for long", cfg(images.IPAuto, ""), view{elapsed: 21 * s, candidates: dark, appeared: 1 * s, carrier: -1},
			step{do: takeStatic, why: "static: no carrier in 20s, so no DHCP server was asked"}},
		{"auto, asking", cfg(images.IPAuto, ""), view{elapsed: 4 * s, candidates: lit, appeared: 1 * s, carrier: 3 * s}, step{until: 7 * s}},
		{"auto, in vain", cfg(images.IPAuto, ""), view{elapsed: 7 * s, candidates: lit, appeared: 1 * s, carrier: 3 * s},
			step{do: takeStatic, why: "static: no DHCP server answered in 4s"}},
		{"auto, offered", cfg(images.IPAuto, ""), view{elapsed: 7 * s, candidates: lit, appeared: 1 * s, carrier: 3 * s, offered: true},
			step{until: 15 * s}},
		{"auto, offered in vain", cfg(images.IPAuto, ""), view{elapsed: 15 * s, candidates: lit, appeared: 1 * s, carrier: 3 * s, offered: true},
			step{do: takeStatic, why: "static: a DHCP server offered but gave no lease"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, decide(tt.c, tt.v), cmp.AllowUnexported(step{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	const m = "52:54:00:00:00:01"
	dark := Link{Index: 2, Name: "eth0", MAC: m, Physical: true}
	lit := Link{Index: 3, Name: "eth1", MAC: "52:54:00:aa:00:02", Physical: true, Up: true, Carrier: true}
	bridge := Link{Index: 1, Name: "br0", MAC: m, Kind: "bridge", Up: true, Carrier: true}
	veth := Link{Index: 9, Name: "veth0", Kind: "veth"}
	all := []Link{bridge, veth, dark, lit}
	tests := []struct {
		name, nic string
		links     []Link
		want      []Link
	}{
		{"any", "", all, []Link{lit, dark}},
		{"by name", "eth0", all, []Link{dark}},
		{"by MAC: the NIC and not the bridge on it", m, all, []Link{dark}},
		{"by MAC in capitals", "52:54:00:AA:00:02", all, []Link{lit}},
		{"a bridge by name", "br0", all, []Link{bridge}},
		{"unknown", "eth9", all, nil},
		{"container", "", []Link{bridge, veth}, []Link{veth}},
		{"none", "", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, candidates(tt.nic, tt.links), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
