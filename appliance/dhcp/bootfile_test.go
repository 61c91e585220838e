package dhcp

import (
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

func TestBootFile(t *testing.T) {
	const script = "http://10.9.0.1/boot/script?mac=02:00:00:00:00:01"
	pxe := class("PXEClient")
	http := class("HTTPClient:Arch:00016:UNDI:003001")
	arch := func(a ...iana.Arch) mod {
		return func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptClientArch(a...)) }
	}
	user := func(s string) mod {
		return func(p *dhcpv4.DHCPv4) {
			p.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, []byte(s)))
		}
	}
	ipxe := func(b ...byte) mod {
		return func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptGeneric(optionIPXE, b)) }
	}
	for _, tt := range []struct {
		name string
		mods []mod
		want string
	}{
		{"Linux", nil, ""},
		{"BIOS", []mod{pxe, arch(0)}, "undionly.kpxe"},
		{"BIOS by vendor class only", []mod{class("PXEClient:Arch:00000:UNDI:002001")}, "undionly.kpxe"},
		{"vendor class without architecture", []mod{pxe}, ""},
		{"vendor class with nonsense", []mod{class("PXEClient:Arch:x")}, ""},
		{"UEFI 7", []mod{pxe, arch(7)}, "snponly.efi"},
		{"UEFI 9", []mod{pxe, arch(9)}, "snponly.efi"},
		{"UEFI among others", []mod{pxe, arch(11, 7)}, "snponly.efi"},
		{"UEFI IA32", []mod{pxe, arch(6)}, ""},
		{"UEFI ARM", []mod{pxe, arch(11)}, ""},
		{"UEFI HTTP", []mod{http, arch(16)}, "http://10.9.0.1/boot/snponly.efi"},
		{"HTTP class with PXE architecture", []mod{http, arch(7)}, ""},
		{"PXE class with HTTP architecture", []mod{pxe, arch(16)}, ""},
		{"iPXE", []mod{pxe, arch(0), user("iPXE")}, script},
		{"iPXE on UEFI", []mod{pxe, arch(7), user("iPXE")}, script},
		{"iPXE by RFC 3004", []mod{pxe, arch(0), user("\x04iPXE")}, script},
		{"iPXE with HTTP", []mod{pxe, arch(0), user("iPXE"), ipxe(19, 1, 1)}, script},
		{"iPXE without HTTP", []mod{pxe, arch(0), user("iPXE"), ipxe(25, 1, 1)}, "undionly.kpxe"},
		{"iPXE with broken features", []mod{pxe, arch(0), user("iPXE"), ipxe(19, 9)}, script},
		{"another user class", []mod{pxe, arch(0), user("gPXE")}, "undionly.kpxe"},
		{"claims in two classes", []mod{pxe, arch(0), user("\x04iPXE\x02ab")}, "undionly.kpxe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := decoded(t, "udhcpc-discover", tt.mods...)
			cl, err := inspect(req)
			if err != nil {
				t.Fatal(err)
			}
			if tt.name == "Linux" && (cl.pxe || cl.http) {
				t.Error("taken for firmware")
			}
			if got := complete(t, lan).bootFile(cl, req); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Only UEFI's TFTP boot is asked about: a BIOS checks nothing, and the others have no signed loader.
func TestBootFileSigned(t *testing.T) {
	for arch, want := range map[iana.Arch][2]string{
		0: {"undionly.kpxe", "undionly.kpxe"}, 7: {"snponly.efi", "shimx64.efi"}, 16: {"", ""},
	} {
		req := decoded(t, "udhcpc-discover", class("PXEClient"), func(p *dhcpv4.DHCPv4) { p.UpdateOption(dhcpv4.OptClientArch(arch)) })
		cl, err := inspect(req)
		if err != nil {
			t.Fatal(err)
		}
		for i, signed := range []bool{false, true} {
			c := complete(t, lan)
			c.Signed = func(mac MAC) bool { return signed && mac == cl.mac }
			if got := c.bootFile(cl, req); got != want[i] {
				t.Errorf("architecture %d, signed %v: got %q, want %q", arch, signed, got, want[i])
			}
		}
	}
}

func TestUserClass(t *testing.T) {
	for in, want := range map[string]string{
		"":                 "",
		"iPXE":             "iPXE",
		"\x04iPXE":         "iPXE",
		"\x03foo\x03bar":   "foo,bar",
		"\x03foo\x04bar":   "foobar", // the second is cut short: taken as text, less what does not print
		"\x00":             "",
		"\x1b[31mred":      "[31mred",
		"\x06<b>\r\n\x00x": "<b>x",
	} {
		if got := userClass([]byte(in)); got != want {
			t.Errorf("userClass(%q) = %q, want %q", in, got, want)
		}
	}
}
