package heartbeat

import (
	"net/netip"
	"strings"
	"testing"
)

func TestConfigErrors(t *testing.T) {
	a := netip.MustParseAddrPort
	_, err := New(Config{Self: 16, Key: []byte("short"), Interval: -1,
		NICs:   []NIC{{Peer: 16, Local: a("10.0.0.1:0"), Remote: a("[fd00::1]:0")}, {Peer: 1, Local: a("[fe80::1]:0"), Remote: a("[fe80::2]:0")}},
		Serial: []Serial{{Peer: 2, Baud: -1}}})
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"self: 16", "cluster: want a name", "key: 5 bytes", "interval: want", "nics[0].peer: 16 is this head itself",
		"nics[0]: 10.0.0.1:7947 to [fd00::1]:7947: want two addresses of one family", "nics[1].name: want the interface of [fe80::2]:7947",
		"serial[0].device: want one", "serial[0].baud: -1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	var many []Serial
	for range maxLinks + 1 {
		many = append(many, Serial{Device: "/dev/ttyS1", Peer: 2})
	}
	if _, err := New(Config{Cluster: "c", Key: testKey, Serial: many}); err == nil || !strings.Contains(err.Error(), "17 links to head 2") {
		t.Errorf("%v, want too many links", err)
	}
}
