package dhcp

import (
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Firmware is the kind of program that asks for a boot file.
type Firmware string

const (
	BIOS     Firmware = "BIOS"
	UEFI     Firmware = "UEFI x64"
	UEFIHTTP Firmware = "UEFI x64 HTTP"
)

func (f Firmware) String() string { return string(f) }

// firmwareOf is the table of option 93 values that we have loaders for. RFC 4578 gave 7 to EFI byte code and 9 to x64;
// firmware sends 7 for x64, and IANA's registry of processor architecture types has it so. Both are taken for x64.
func firmwareOf(a iana.Arch) (Firmware, bool) {
	switch a {
	case 0:
		return BIOS, true
	case 7, 9:
		return UEFI, true
	case 16:
		return UEFIHTTP, true
	}
	return "", false
}

// bootFile chooses what a client is told to load: a TFTP name, a URL, or nothing for one that does not boot.
func (c Config) bootFile(cl client, req *dhcpv4.DHCPv4) string {
	for _, row := range []struct {
		when bool
		file string
	}{
		{cl.userClass == "iPXE" && ipxeSpeaksHTTP(req), c.httpURL(c.BootFiles.Script) + "?mac=" + cl.mac.String()},
		{cl.http && cl.firmware == UEFIHTTP, c.httpURL(c.BootFiles.UEFIHTTP)},
		{cl.pxe && cl.firmware == BIOS, c.BootFiles.BIOS},
		{cl.pxe && cl.firmware == UEFI && c.Signed != nil && c.Signed(cl.mac), c.BootFiles.UEFISigned},
		{cl.pxe && cl.firmware == UEFI, c.BootFiles.UEFI},
	} {
		if row.when {
			return row.file
		}
	}
	return ""
}

func (c Config) httpURL(path string) string {
	return strings.TrimSuffix(c.HTTPBase, "/") + "/" + strings.TrimPrefix(path, "/")
}

// ipxeSpeaksHTTP looks for feature 19 in iPXE's encapsulated option 175 (iPXE: src/include/ipxe/features.h). An iPXE that
// lists its features without it, as some ROMs on cards do, is given our own like any firmware.
func ipxeSpeaksHTTP(req *dhcpv4.DHCPv4) bool {
	opt := req.Options.Get(optionIPXE)
	if len(opt) == 0 {
		return true
	}
	features := dhcpv4.Options{}
	if err := features.FromBytes(opt); err != nil {
		return true
	}
	v := features.Get(dhcpv4.GenericOptionCode(19))
	return len(v) == 1 && v[0] != 0
}

const (
	optionIPXE = dhcpv4.GenericOptionCode(175)
	// maxFileField is what the header's field of 128 bytes holds beside its terminating zero.
	maxFileField = 127
)
