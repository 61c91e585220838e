package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"masthead/node/wire"
)

// A reservation is what a node will have; where there is none, its lease is what it has.
func TestPrintNodesAddress(t *testing.T) {
	reserved, leased := netip.MustParseAddr("10.77.0.11"), netip.MustParseAddr("10.77.0.130")
	for _, tc := range []struct {
		node wire.Node
		want string
	}{
		{wire.Node{Name: "a", Address: reserved, Lease: leased}, "10.77.0.11"},
		{wire.Node{Name: "b", Lease: leased}, "10.77.0.130"},
		{wire.Node{Name: "c"}, "-"},
	} {
		tc.node.Phase, tc.node.Stage = wire.PhaseUp, wire.StageUp
		var out bytes.Buffer
		if err := (&app{out: &out}).printNodes([]wire.Node{tc.node}); err != nil {
			t.Fatal(err)
		}
		_, row, _ := strings.Cut(out.String(), "\n")
		if words := strings.Fields(row); len(words) < 4 || words[3] != tc.want {
			t.Errorf("%s: address %q, want %s in\n%s", tc.node.Name, words, tc.want, out.String())
		}
	}
}
