package appliance

import (
	"net/netip"
	"testing"

	"masthead/appliance/dhcp"
)

func TestPoolOf(t *testing.T) {
	tests := []struct{ head, from, to string }{
		{"10.77.0.1/24", "10.77.0.128", "10.77.0.254"},
		{"192.168.4.9/29", "192.168.4.12", "192.168.4.14"},
		{"10.0.0.1/8", "10.128.0.0", "10.128.63.255"},
		{"10.77.0.1/30", "", ""},
		{"fd00::1/64", "", ""},
	}
	for _, tt := range tests {
		want := dhcp.Range{}
		if tt.from != "" {
			want = dhcp.Range{From: netip.MustParseAddr(tt.from), To: netip.MustParseAddr(tt.to)}
		}
		if got := PoolOf(netip.MustParsePrefix(tt.head)); got != want {
			t.Errorf("PoolOf(%s) = %v, want %v", tt.head, got, want)
		}
	}
}
