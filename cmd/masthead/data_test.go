package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/node/wire"
)

func TestPrintData(t *testing.T) {
	const mib = 1 << 20
	all := []wire.DataVolume{
		{
			Name: "data", Head: "head1", Role: "Primary", State: "up to date", Connection: "Connected", Disk: "UpToDate", PeerDisk: "Inconsistent",
			Replication: "SyncSource", Size: 512 * mib, OutOfSync: 128 * mib, Done: 75, Rate: 32 * mib, Remaining: 4,
		},
		{Name: "data", Head: "head2", Role: "Secondary", State: "syncing", Connection: "Connected", Replication: "SyncTarget", Size: 512 * mib, OutOfSync: 128 * mib, Done: 75},
		{Name: "mail", Head: "head1", Role: "Primary", State: "alone", Connection: "Connecting", Replication: "Off", Size: mib, Frozen: true, Word: "nothing proves that head2 does not write"},
		{Name: "mail", Head: "head2", State: "unknown", Trouble: "the head does not answer"},
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
 mail    head2  -          unknown     -           -          -          -
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
