package dhcp

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// client is what a request says of its sender.
type client struct {
	mac       MAC
	firmware  Firmware
	arch      string
	pxe       bool // vendor class PXEClient
	http      bool // vendor class HTTPClient
	userClass string
	clientID  string
	uuid      string
	hostname  string

	ciaddr, giaddr netip.Addr
}

const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"

	// maxHops is the limit that RFC 1542, 4.1.1 sets for relays.
	maxHops = 16
)

// inspect reads a request and refuses one that cannot be meant seriously.
func inspect(req *dhcpv4.DHCPv4) (client, error) {
	mac, ok := MACFrom(req.ClientHWAddr)
	cl := client{
		mac:    mac,
		ciaddr: addrOf(req.ClientIPAddr),
		giaddr: addrOf(req.GatewayIPAddr),
	}
	switch {
	case req.OpCode != dhcpv4.OpcodeBootRequest:
		return cl, errors.New("not a request")
	case req.HWType != iana.HWTypeEthernet:
		return cl, fmt.Errorf("hardware type %d, only Ethernet is served", req.HWType)
	case !ok:
		return cl, fmt.Errorf("%q is no machine's Ethernet address", req.ClientHWAddr.String())
	case req.HopCount > maxHops:
		return cl, fmt.Errorf("passed %d relays", req.HopCount)
	}

	class := req.ClassIdentifier()
	cl.pxe = strings.HasPrefix(class, classPXE)
	cl.http = strings.HasPrefix(class, classHTTP)
	cl.userClass = userClass(req.Options.Get(dhcpv4.OptionUserClassInformation))
	cl.firmware, cl.arch = firmware(req, class)
	cl.clientID = hex.EncodeToString(clip(req.Options.Get(dhcpv4.OptionClientIdentifier)))
	// RFC 4578, 2.3: one byte of type, always 0, and 16 of GUID.
	if id := req.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(id) == 17 && id[0] == 0 {
		cl.uuid = hex.EncodeToString(id[1:])
	}
	cl.hostname = printable(req.HostName())
	return cl, nil
}

// userClass reads option 77: length-prefixed strings by RFC 3004, a bare string from iPXE and many others.
func userClass(opt []byte) string {
	var classes []string
	for rest := opt; len(rest) > 0; {
		n := int(rest[0])
		if n == 0 || n >= len(rest) {
			return printable(string(clip(opt)))
		}
		classes = append(classes, string(rest[1:1+n]))
		rest = rest[1+n:]
	}
	return printable(string(clip([]byte(strings.Join(classes, ",")))))
}

// firmware reads the architecture from option 93, or from the vendor class of ROMs that send only
// "PXEClient:Arch:00000:UNDI:002001".
func firmware(req *dhcpv4.DHCPv4, class string) (Firmware, string) {
	archs := req.ClientArch()
	if len(archs) == 0 {
		if parts := strings.Split(class, ":"); len(parts) >= 3 && parts[1] == "Arch" {
			if n, err := strconv.ParseUint(parts[2], 10, 16); err == nil {
				archs = []iana.Arch{iana.Arch(n)}
			}
		}
	}
	// A client may list several (RFC 4578, 2.1): the first that we have a loader for.
	for _, a := range archs {
		if f, ok := firmwareOf(a); ok {
			return f, f.String()
		}
	}
	if len(archs) > 0 {
		return "", fmt.Sprintf("%s (%d)", archs[0], archs[0])
	}
	return "", ""
}

// clip bounds what is remembered of a text that a client sends: the lease table and the event log are not its disk.
func clip(b []byte) []byte { return b[:min(len(b), 64)] }

// printable keeps a client's text from playing tricks in a terminal or a web page.
func printable(s string) string {
	s = string(clip([]byte(s)))
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}
