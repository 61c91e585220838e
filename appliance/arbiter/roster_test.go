package arbiter

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

func testAddr(name string) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, name[0]}), 7949)
}

func drawRoster(t *rapid.T) Roster {
	r := Roster{Version: 1, Voters: []Voter{{Name: "a", Head: 0}, {Name: "b", Head: 1}}}
	for _, n := range []string{"c", "d", "e", "f", "g"}[:rapid.IntRange(0, 5).Draw(t, "witnesses")] {
		r.Voters = append(r.Voters, Voter{Name: n, Head: Witness})
	}
	return r
}

// TestQuorums shows that any two quorums of a list have a voter in common, and that one vote of three can be missing.
func TestQuorums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRoster(t)
		one := map[string]bool{}
		for _, v := range r.Voters {
			one[v.Name] = rapid.Bool().Draw(t, v.Name)
		}
		in := func(yes bool) func(Voter) failover.Instant {
			return func(v Voter) failover.Instant {
				if one[v.Name] == yes {
					return 1
				}
				return never
			}
		}
		if r.quorum(in(true)) == 1 && r.quorum(in(false)) == 1 {
			t.Fatalf("both %v and the others", one)
		}
	})
	r := Roster{Version: 1, Voters: []Voter{{Name: "a", Head: 0}, {Name: "b", Head: 1}, {Name: "c", Head: Witness}, {Name: "d", Head: Witness}, {Name: "e", Head: Witness}}}
	for _, tt := range []struct {
		ends map[string]failover.Instant
		want failover.Instant
	}{
		{map[string]failover.Instant{"a": 10, "b": 20}, 10},
		{map[string]failover.Instant{"a": 10, "c": 5, "d": 7}, 5},
		{map[string]failover.Instant{"a": 10, "c": 5, "d": 7, "e": 9}, 7},
		{map[string]failover.Instant{"a": 10, "b": 8, "c": 5, "d": 7, "e": 9}, 8},
		{map[string]failover.Instant{"a": 10, "c": 5}, never},
		{map[string]failover.Instant{"c": 5, "d": 7, "e": 9}, never},
	} {
		got := r.quorum(func(v Voter) failover.Instant {
			if end, ok := tt.ends[v.Name]; ok {
				return end
			}
			return never
		})
		if got != tt.want {
			t.Errorf("%v: %v, want %v", tt.ends, got, tt.want)
		}
	}
}

// TestRostersMeet shows that whatever lists two heads get, in whatever order they hear of one another's, they always have one
// that both need.
func TestRostersMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := func(version uint32) Roster { r := drawRoster(t); r.Version = version; return r }
		first := list(1)
		heads := [2]rosters{{first}, {first}}
		var said [2][]uint32 // on the way to the other
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "head")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				heads[i] = append(heads[i][:len(heads[i]):len(heads[i])], list(heads[i].newest()+rapid.Uint32Range(1, 3).Draw(t, "skip")))
			case 1:
				said[i] = append(said[i], heads[i].newest())
			case 2:
				if n := len(said[1-i]); n > 0 { // late, again, or out of order
					heads[i] = heads[i].agree(said[1-i][rapid.IntRange(0, n-1).Draw(t, "heard")])
				}
			}
			common := false
			for _, a := range heads[0] {
				for _, b := range heads[1] {
					common = common || a.Version == b.Version
				}
			}
			if !common {
				t.Fatalf("%v and %v have no list in common", heads[0], heads[1])
			}
		}
	})
}
