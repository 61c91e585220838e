package images

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var digestA = DigestOf([]byte("a"))

func TestParseBoot(t *testing.T) {
	base := Boot{Root: RootLazy, Overlay: "tmpfs", IP: IPDHCP, PanicDelay: DefaultPanicDelay, State: StateLabel}
	with := func(f func(*Boot)) Boot { b := base; f(&b); return b }
	tests := []struct {
		name, in string
		want     Boot
		wantErr  string // a part of it; empty: none
	}{
		{"nothing of ours", "BOOT_IMAGE=/vmlinuz console=ttyS0,115200 quiet", base, ""},
		{"worker", "masthead.role=worker masthead.head=https://10.0.0.1,https://10.0.0.2:8443 masthead.ca=" + string(digestA) +
			" masthead.image=" + digestA.Hex() + " root=ram BOOTIF=01-52-54-00-77-00-0A",
			with(func(b *Boot) {
				b.Role, b.Heads = RoleWorker, []string{"https://10.0.0.1", "https://10.0.0.2:8443"}
				b.CA, b.Image, b.Root, b.NIC = digestA, digestA, RootRAM, "52:54:00:77:00:0a"
			}), ""},
		{"static", "masthead.ip=10.77.0.1/24,10.77.0.254,9.9.9.9", with(func(b *Boot) {
			b.IP, b.Address = IPStatic, netip.MustParsePrefix("10.77.0.1/24")
			b.Gateway, b.DNS = netip.MustParseAddr("10.77.0.254"), netip.MustParseAddr("9.9.9.9")
		}), ""},
		{"auto", "masthead.ip=auto,10.77.0.1/24", with(func(b *Boot) {
			b.IP, b.Address = IPAuto, netip.MustParsePrefix("10.77.0.1/24")
		}), ""},
		{"a later address forgets the earlier gateway", "masthead.ip=10.0.0.2/24,10.0.0.1,10.0.0.3 masthead.ip=10.77.0.1/24", with(func(b *Boot) {
			b.IP, b.Address = IPStatic, netip.MustParsePrefix("10.77.0.1/24")
		}), ""},
		{"static without gateway", "masthead.ip=fd00::1/64,,fd00::53", with(func(b *Boot) {
			b.IP, b.Address, b.DNS = IPStatic, netip.MustParsePrefix("fd00::1/64"), netip.MustParseAddr("fd00::53")
		}), ""},
		{"nic wins over BOOTIF", "BOOTIF=01-aa-aa-aa-aa-aa-aa masthead.nic=eth1 BOOTIF=01-bb-bb-bb-bb-bb-bb",
			with(func(b *Boot) { b.NIC = "eth1" }), ""},
		{"quotes", `masthead.name="n01" foo="a masthead.rescue b"`, with(func(b *Boot) { b.Name = "n01" }), ""},
		{"rescue and panic", "masthead.rescue masthead.panic=0", with(func(b *Boot) { b.Rescue, b.PanicDelay = true, 0 }), ""},
		{"rescue taken back", "masthead.rescue=0 masthead.panic=5", with(func(b *Boot) { b.PanicDelay = 5 * time.Second }), ""},
		{"the last word wins", "root=ram root=lazy", base, ""},
		{"installed disk", "masthead.slot=b masthead.medium=0FC63DAF-8483-4772-8e79-3d69d8477de4", with(func(b *Boot) {
			b.Slot, b.Medium = "b", "0fc63daf-8483-4772-8e79-3d69d8477de4"
		}), ""},
		{"no such slot", "masthead.slot=c", base, "want a or b"},
		{"no GUID", "masthead.medium=sda3", base, "want the GUID"},
		{"install from a stick", "masthead.install", with(func(b *Boot) { b.Install = InstallFromStick }), ""},
		{"install, with the answers", `masthead.install="{disk: auto, address: 10.0.0.3/24}"`, with(func(b *Boot) {
			b.Install = "{disk: auto, address: 10.0.0.3/24}"
		}), ""},
		{"kernel's own root", "root=/dev/sda1", base, "want lazy or ram"},
		{"bad head", "masthead.head=http://10.0.0.1", base, "want https://HOST"},
		{"half a bad head list", "masthead.head=https://10.0.0.1,ftp://x", base, `"ftp://x"`},
		{"bad address keeps dhcp", "masthead.ip=10.0.0.300/24", base, "want dhcp"},
		{"bad gateway keeps dhcp", "masthead.ip=10.0.0.3/24,x", base, "not an address"},
		{"too much", "masthead.ip=10.0.0.3/24,10.0.0.1,10.0.0.1,10.0.0.1", base, "too many commas"},
		{"auto alone", "masthead.ip=auto", base, "ADDRESS/PREFIX"},
		{"bad digest", "masthead.image=sha256:zz", base, "want sha256:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseBoot(tt.in)
			if (err != nil) != (tt.wantErr != "") || (err != nil && !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("ParseBoot(%q): error %v, want one with %q", tt.in, err, tt.wantErr)
			}
			if tt.name == "auto alone" {
				got.IP = IPDHCP // the mode was asked for; only the address is missing
			}
			if d := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
				t.Errorf("ParseBoot(%q) (-want +got):\n%s", tt.in, d)
			}
		})
	}
}

func TestParseBootReportsEverything(t *testing.T) {
	_, err := ParseBoot("masthead.role=king masthead.panic=-1 BOOTIF=zz")
	for _, want := range []string{"masthead.role=king", "masthead.panic=-1", "BOOTIF=zz"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

func FuzzParseBoot(f *testing.F) {
	f.Add("masthead.role=worker masthead.head=https://10.0.0.1 masthead.ip=10.77.0.1/24,,10.0.0.1 root=ram")
	f.Add(`masthead.ip=auto,10.77.0.1/24 masthead.name="n01" masthead.rescue`)
	f.Add("BOOTIF=01-52-54-00-77-00-0a masthead.overlay=zram masthead.state=none masthead.panic=7")
	f.Add(`masthead.slot=a masthead.medium=0fc63daf-8483-4772-8e79-3d69d8477de4 masthead.install="{disk: auto}"`)
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBoot(s)
		if err != nil {
			return
		}
		again, err := ParseBoot(b.String())
		if err != nil {
			t.Fatalf("%q gives %q, which does not parse: %v", s, b, err)
		}
		if d := cmp.Diff(b, again, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); d != "" {
			t.Fatalf("%q does not survive its own text %q:\n%s", s, b, d)
		}
	})
}
