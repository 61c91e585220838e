package data

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What drbd-utils 9.22 says with the kernel's 8.4.11, in Debian 13.
func TestEventsOfDRBD(t *testing.T) {
	text, err := os.ReadFile("testdata/events2.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got Copy
	var end int
	err = readEvents(strings.NewReader(string(text)), func(e Event) {
		if e.Object == "-" {
			end++
			return
		}
		got.Apply(e)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Copy{
		There: true, Role: "Secondary", Suspended: "no", Connection: "Connected", PeerRole: "Secondary", Disk: "Inconsistent",
		PeerDisk: "Inconsistent", Replication: "Established", Size: 524236, OutOfSync: 524236, Done: -1,
	}
	if diff := cmp.Diff(want, got); diff != "" || end != 1 {
		t.Errorf("%d ends; the copy (-want +got):\n%s", end, diff)
	}
}

func TestApply(t *testing.T) {
	full := Copy{
		There: true, Role: "Primary", Suspended: "no", Connection: "Connected", PeerRole: "Secondary", Disk: "UpToDate", PeerDisk: "UpToDate",
		Replication: "Established", Size: 100, Done: -1,
	}
	with := func(change func(*Copy)) Copy {
		c := full
		change(&c)
		return c
	}
	tests := []struct {
		line string
		want Copy
	}{
		{"change resource name:data suspended:fencing", with(func(c *Copy) { c.Suspended = "fencing" })},
		{"change connection name:data peer-node-id:0 conn-name:peer connection:NetworkFailure role:Unknown", with(func(c *Copy) { c.Connection, c.PeerRole = "NetworkFailure", "Unknown" })},
		{"change peer-device name:data volume:0 replication:SyncSource peer-disk:Inconsistent done:12.50 out-of-sync:70", with(func(c *Copy) { c.Replication, c.PeerDisk, c.Done, c.OutOfSync = "SyncSource", "Inconsistent", 12.5, 70 })},
		{"destroy peer-device name:data volume:0", with(func(c *Copy) { c.PeerDisk, c.Replication = "", "" })},
		{"destroy connection name:data", with(func(c *Copy) { c.Connection, c.PeerRole, c.PeerDisk, c.Replication = "", "", "", "" })},
		{"destroy device name:data volume:0 minor:0", with(func(c *Copy) { c.Disk, c.Size = "", 0 })},
		{"destroy resource name:data", Copy{}},
		{"2026-11-22T07:51:34.000001+00:00 change device name:data volume:0 disk:Diskless", with(func(c *Copy) { c.Disk = "Diskless" })},
		{"call helper name:data helper:fence-peer", full},
	}
	for _, tt := range tests {
		e, err := ParseEvent(tt.line)
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		got := full
		got.Apply(e)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.line, diff)
		}
	}
}

func TestParseEventRefuses(t *testing.T) {
	for _, line := range []string{"", "exists", "exists resource", "change resource role:Primary", "change resource name:data Primary", "change resource name:data :x"} {
		if e, err := ParseEvent(line); err == nil {
			t.Errorf("%q: got %v, want an error", line, e)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	text, _ := os.ReadFile("testdata/events2.txt")
	for line := range strings.Lines(string(text)) {
		f.Add(line)
	}
	f.Add("2026-11-22T07:51:34.000001+00:00 change device name:data disk:Diskless done:x")
	f.Fuzz(func(t *testing.T, line string) {
		e, err := ParseEvent(line)
		if err != nil {
			return
		}
		var c Copy
		c.Apply(e)
		if e.Verb == "" || e.Object == "" {
			t.Errorf("%q: an event without a verb or an object", line)
		}
	})
}
