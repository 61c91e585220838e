package netif

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// What goes over the wire, in the words of the library that others decode with, and byte for byte after the cookie.
func TestMessages(t *testing.T) {
	mac := net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}
	xid := dhcpv4.TransactionID{1, 2, 3, 4}
	offer := ack(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithTransactionID(xid))
	common := "370a" + "01" + "03" + "06" + "0c" + "0f" + "1a" + "2a" + "33" + "3a" + "3b" + // parameter list
		"3902" + "05dc" + // maximum message size 1500
		"3c08" + "6d61737468656164" + // masthead
		"3d07" + "01525400770001" + // type 1 and the MAC
		"ff"
	tests := []struct {
		name    string
		p       *dhcpv4.DHCPv4
		header  string // op to flags, ciaddr
		options string
	}{
		{"discover", discover(mac, netip.Addr{}), "01010600" + "01020304" + "0000" + "0000" + "00000000",
			"350101" + common},
		{"discover again", discover(mac, netip.MustParseAddr("10.0.0.9")), "01010600" + "01020304" + "0000" + "0000" + "00000000",
			"32040a000009" + "350101" + common},
		{"request", request(offer, mac, 70*time.Second), "01010600" + "01020304" + "0046" + "0000" + "00000000",
			"32040a000009" + "350103" + "36040a000001" + common},
		{"extend", extend(netip.MustParseAddr("10.0.0.9"), mac, 100*time.Hour), "01010600" + "01020304" + "ffff" + "0000" + "0a000009",
			"350103" + common},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.TransactionID = xid
			b := tt.p.ToBytes()
			if d := cmp.Diff(tt.header, hex.EncodeToString(b[:16])); d != "" {
				t.Errorf("header -want +got:\n%s", d)
			}
			if got := net.HardwareAddr(b[28:34]); got.String() != mac.String() {
				t.Errorf("chaddr %v", got)
			}
			// The library pads to the 300 bytes that BOOTP relays want.
			got := strings.TrimRight(hex.EncodeToString(b[240:]), "0")
			if d := cmp.Diff(tt.options, got); d != "" {
				t.Errorf("options -want +got:\n%s", d)
			}
		})
	}
}
