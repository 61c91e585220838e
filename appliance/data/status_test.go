package data

import (
	"testing"

	"masthead/appliance/failover"
)

// The role of a copy is Unknown until DRBD has said it. Where the kernel has no such device there is none to know.
func TestRoleBeforeDRBDHasSpoken(t *testing.T) {
	f := &fakeDRBD{}
	s, err := New(Config{
		Resources: Resources{Volumes: []Volume{{Name: "data", Device: "/dev/vdb"}}}, Self: "head1", Dir: t.TempDir(), Tools: f.tools(),
		Now: func() failover.Instant { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name          string
		ready, kernel bool
		heard         Copy
		want          string
	}{
		{"no DRBD", false, false, Copy{}, ""},
		{"not said yet", false, true, Copy{}, "Unknown"},
		{"said, not given to it", true, false, Copy{}, ""},
		{"said", true, true, connected(secondary, primary), secondary},
		{"was secondary", false, true, connected(secondary, primary), "Unknown"},
		{"was primary", false, true, connected(primary, secondary), primary},
	} {
		f.copy.There, s.ready, s.volumes[0].look.Copy = tt.kernel, tt.ready, tt.heard
		if got := s.Volumes()[0].Role; got != tt.want {
			t.Errorf("%s: role %q, want %q", tt.name, got, tt.want)
		}
	}
}
