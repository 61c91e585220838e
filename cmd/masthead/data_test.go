package main

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/node/slot"
	"masthead/node/wire"
)

func TestOnlyVolume(t *testing.T) {
	volumes := func(names ...string) (all []wire.DataVolume) {
		for _, n := range names {
			all = append(all, wire.DataVolume{Name: n, Head: "head1"}, wire.DataVolume{Name: n, Head: "head2"})
		}
		return all
	}
	for _, test := range []struct {
		all            []wire.DataVolume
		how            string
		want, err, try string
	}{
		{nil, "%s", "", "the cluster has no replicated data", "masthead cluster edit"},
		{volumes("data"), "%s", "data", "", ""},
		{volumes("data", "mail"), "%s", "", "there are several volumes: data, mail", "the same, with data"},
		{volumes("data", "mail"), "--volume %s", "", "there are several volumes: data, mail", "the same, with --volume data"},
	} {
		got, err := onlyVolume(test.all, test.how)
		if got != test.want || fmt.Sprint(err) != orElse(test.err, "<nil>") || tryText(err) != test.try {
			t.Errorf("%v: %q, %v, try %q", test.all, got, err, tryText(err))
		}
	}
}

// What is typed again confirms the same as what was typed.
func TestConfirmed(t *testing.T) {
	for got, want := range map[string]string{
		(&snapshotFlags{}).confirmed("s"):                                                            "masthead snapshot rollback s --confirm s",
		(&snapshotFlags{volume: "mail"}).confirmed("s"):                                              "masthead snapshot rollback s --volume mail --confirm s",
		upgradeFlags{deadline: slot.DefaultDeadline}.confirmed("head.iso"):                           "masthead upgrade head.iso --yes",
		upgradeFlags{all: true, force: true, deadline: slot.DefaultDeadline}.confirmed("head"):       "masthead upgrade head --all --force --yes",
		upgradeFlags{noRestart: true, deadline: slot.DefaultDeadline + time.Minute}.confirmed("x/y"): "masthead upgrade x/y --no-restart --deadline 11m0s --yes",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestPrintData(t *testing.T) {
	const mib = 1 << 20
	all := []wire.DataVolume{
		{
			Name: "data", Head: "head1", Role: "Primary", State: "up to date", Connection: "Connected", Disk: "UpToDate", PeerDisk: "Inconsistent",
			Replication: "SyncSource", Size: 512 * mib, OutOfSync: 128 * mib, Done: 75, Rate: 32 * mib, Remaining: 4,
		},
		{Name: "data", Head: "head2", Role: "Secondary", State: "syncing", Connection: "Connected", Replication: "SyncTarget", Size: 512 * mib, OutOfSync: 128 * mib, Done: 75},
		{Name: "mail", Head: "head1", Role: "Primary", State: "alone", Connection: "Connecting", Replication: "Off", Size: mib, Frozen: true, Word: "nothing proves that head2 does not write"},
		{Name: "mail", Head: "head2", State: "unknown", Role: wire.RoleUnknown, Trouble: "the head does not answer"},
		{Name: "old", Head: "head1", Role: "Primary", State: "up to date", Connection: "Connected", Replication: "Established", Size: mib, Verified: time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local), Differences: 4096},
	}
	var out bytes.Buffer
	a := &app{out: &out, output: "text"}
	if err := a.printData(all); err != nil {
		t.Fatal(err)
	}
	want := `
 Volume  Head   Role       Copy        Connection  Size       Differs    Progress
 ------  ----   ----       ----        ----------  ----       -------    --------
 data    head1  primary    up to date  connected   512.0 MiB  128.0 MiB  gives 75.0 %, 32.0 MiB/s, 4s left
 data    head2  secondary  syncing     connected   512.0 MiB  128.0 MiB  takes 75.0 %
 mail    head1  primary    alone       connecting  1.0 MiB    0 B        -
 mail    head2  unknown    unknown     -           -          -          -
 old     head1  primary    up to date  connected   1.0 MiB    0 B        -
 mail on head1: WRITES WAIT: nothing proves that head2 does not write
 mail on head2: the head does not answer
 old on head1: verified 2026-11-22 12:00:00: 4.0 KiB DIFFER
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if settled(all) || !settled(all[4:]) || settled(nil) {
		t.Error("settled: only copies that are up to date, connected and at rest")
	}
}

// That nothing is known of a copy is no word that it has not diverged.
func TestDivergence(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		states  []string
		want    *bool
		unknown int
	}{
		{[]string{"up to date", "syncing"}, &no, 0},
		{[]string{"alone", "diverged"}, &yes, 0},
		{[]string{"up to date", "unknown"}, nil, 1},
		{[]string{"unknown", "unknown"}, nil, 2},
		{[]string{"unknown", "diverged"}, &yes, 1},
	} {
		var all []wire.DataVolume
		for i, state := range test.states {
			all = append(all, wire.DataVolume{Name: "data", Head: fmt.Sprintf("head%d", i+1), State: state})
		}
		diverged, unknown := divergence(all)
		if len(unknown) != test.unknown {
			t.Errorf("%q: unknown are %q", test.states, unknown)
		}
		for _, v := range divergedVolumes(all, diverged, unknown) {
			if diff := cmp.Diff(test.want, v.Diverged); diff != "" {
				t.Errorf("%q (-want +got):\n%s", test.states, diff)
			}
		}
	}
}
