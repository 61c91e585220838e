package data

import (
	"errors"
	"testing"

	"masthead/appliance/failover"
)

// What nobody knows of a copy is said, and nothing is concluded from it.
func TestChangeUnknown(t *testing.T) {
	silent := leftBench(t, nil, leftVolume, Copy{}) // DRBD says nothing
	looks := newBenchWith(t, 2, func(_ *Volume, f *fakeDRBD) { f.unread = errors.New("open /dev/nope: no such file or directory") })
	looks.see(nil)
	looks.until(t, "cannot look", func() bool { return looks.volumes[0].trouble != "" })
	for _, action := range []string{"create", "connect", "verify"} {
		for b, want := range map[*bench]string{
			silent: "of the copy of data on head1 nothing is known yet: DRBD has not said yet how it stands",
			looks:  "of the copy of data on head1 nothing is known yet: open /dev/nope: no such file or directory",
		} {
			var refused *Refused
			if does, err := b.Change(t.Context(), "data", action, true); !errors.As(err, &refused) || err.Error() != want || refused.Try() == "" {
				t.Errorf("%s: %q, %v; want %q", action, does, err, want)
			}
		}
	}
}

// A head that is the only one has nobody to connect to.
func TestConnectAlone(t *testing.T) {
	b := newBenchOf(t, 1)
	b.see(func(v *View) { v.Peer = PeerView{} })
	if err := b.Promote(t.Context(), "data"); err != nil {
		t.Fatal(err)
	}
	var refused *Refused
	if does, err := b.Change(t.Context(), "data", "connect", false); !errors.As(err, &refused) {
		t.Errorf("%q, %v", does, err)
	}
}

// The word on an owner's data is told of a copy that is written to, and of no other.
func TestWordIsTold(t *testing.T) {
	const none = "this head does not own the cluster"
	b := following(t)
	b.see(func(v *View) { v.Word = failover.Word{How: none} })
	b.cancel() // so that nothing changes but by this test
	b.until(t, "ended", func() bool { return b.ended })
	for _, tt := range []struct {
		name string
		copy Copy
		want Want
		told string
	}{
		{"nothing is known", Copy{}, WantPrimary, ""},
		{"follows", lost(connected(secondary, primary), upToDate, "DUnknown"), WantSecondary, ""},
		{"is written to alone", lost(connected(primary, secondary), upToDate, "DUnknown"), WantPrimary, none},
	} {
		b.mu.Lock()
		b.volumes[0].look.Copy, b.volumes[0].look.Want = tt.copy, tt.want
		b.mu.Unlock()
		if got := b.Volumes()[0].Word; got != tt.told {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.told)
		}
	}
}
