package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/node/wire"
)

// Every change says what it would do, does it, is refused where it makes no sense, and is in the audit log.
func TestNodeChanges(t *testing.T) {
	to := startHead(t)
	say := func(args string) (string, error) {
		var out, errs bytes.Buffer
		err := run(t.Context(), append(strings.Fields(args), to...), strings.NewReader(""), &out, &errs)
		return out.String(), err
	}
	for _, tc := range []struct{ args, want, err string }{
		{args: "node add n01 --mac 52:54:00:00:00:01 --group rack1 --dry-run", want: "n01: would add\n  name: - -> n01\n  mac: - -> 52:54:00:00:00:01\n  groups: - -> rack1\n  approved: - -> true\n"},
		{args: "node add n01 --mac 52:54:00:00:00:01 --group rack1", want: "n01: added\n  name: - -> n01\n  mac: - -> 52:54:00:00:00:01\n  groups: - -> rack1\n  approved: - -> true\n"},
		{args: "node add n02 --mac 52:54:00:00:00:02", want: "n02: added\n  name: - -> n02\n  mac: - -> 52:54:00:00:00:02\n  approved: - -> true\n"},
		{args: "node add n03 --mac 52:54:00:00:00:02", err: "it is the MAC address of n02"},
		{args: "node set n[01-02] --heads head1 --root ram --dry-run", want: "n01: would change\n  root: - -> ram\n  heads: - -> head1\nn02: would change\n  root: - -> ram\n  heads: - -> head1\n"},
		{args: "node set n[01-02] --heads head1", want: "n01: changed\n  heads: - -> head1\nn02: changed\n  heads: - -> head1\n"},
		{args: "node set n01 --heads=", want: "n01: changed\n  heads: head1 -> -\n"},
		{args: "node set n01 --heads head2", err: `heads "head2": no such head; there are head1`},
		{args: "node set n[01-02] --address 10.0.0.5", err: "name, MAC address and address differ from node to node"},
		{args: "node set n[01-09] --root ram", err: "no node has this name"},
		{args: "node set @none --root ram", err: "no node matches @none"},
		{args: "node group set rack1 --heads head1 --dry-run", want: "group rack1: would change\n  heads: - -> head1\n"},
		{args: "node group list", want: "GROUP  NODES  HEADS  IMAGE  SET\nrack1  1      -      -      n01\n"},
		{args: "node group set rack1 --heads head1", want: "group rack1: changed\n  heads: - -> head1\n"},
		{args: "node group list", want: "GROUP  NODES  HEADS  IMAGE  SET\nrack1  1      head1  -      n01\n"},
		{args: "node group set rack1 --image nosuch", err: "no such image"},
		{args: "node group set rack1", err: "nothing to set"},
		{args: "node group rm rack1 --dry-run", want: "group rack1: would remove\n  heads: head1 -> -\n"},
		{args: "node group rm rack1", want: "group rack1: removed\n  heads: head1 -> -\n"},
		{args: "node group rm rack1", err: "nothing was decided for a group of this name"},
		{args: "node rm n02 --dry-run", want: "n02: would remove\n  name: n02 -> -\n  mac: 52:54:00:00:00:02 -> -\n  heads: head1 -> -\n  approved: true -> -\n"},
		{args: "node rm n02", want: "n02: removed\n  name: n02 -> -\n  mac: 52:54:00:00:00:02 -> -\n  heads: head1 -> -\n  approved: true -> -\n"},
		{args: "node rm n02", err: "no node has this name"},
		{args: "audit -n 0", err: "want 1 or more"},
		{args: "audit -n 20000", err: "want a number from 1 to 10000"},
	} {
		got, err := say(tc.args)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v, want error %q", tc.args, err, tc.err)
			}
			continue
		}
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tc.args, err, diff)
		}
	}

	got, err := say("audit -n 2")
	want := `(?s)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  admin from 127.0.0.1 on head1\n  group/rack1: heads=\["head1"\] -> -\n` +
		`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  admin from 127.0.0.1 on head1\n  node/n02: approved=true heads=\["head1"\] mac="52:54:00:00:00:02" -> -\n$`
	if err != nil || !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("audit: %v\n%s", err, got)
	}
	got, err = say("audit -n 3 -o json")
	var entries []wire.AuditEntry
	if err != nil || json.Unmarshal([]byte(got), &entries) != nil || len(entries) != 3 || entries[0].Changes[0].Key != "node/n02" {
		t.Errorf("audit -o json: %v\n%s", err, got)
	}
	var nodes []map[string]any
	if got, err = say("node list -o json"); err != nil || json.Unmarshal([]byte(got), &nodes) != nil || len(nodes) != 1 || nodes[0]["groups"] == nil {
		t.Errorf("node list -o json: %v\n%s", err, got)
	}
}

func TestPrintAudit(t *testing.T) {
	var e wire.AuditEntry
	text := `{"time":"2026-01-02T12:00:00Z","head":"head2","who":"","where":"","changes":[{"key":"node/n01","old":{"a":1,"b":{"c":[]}},"new":null},{"key":"setting/x","old":true,"new":"(9 bytes)"},{"key":"file/y","old":{},"new":[1]}],"conflict":{"kept":{"head":"head1"},"lost":{"head":"head2"}}}`
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	(&app{out: &out}).printAudit(e)
	_, got, _ := strings.Cut(out.String(), "  ")
	want := "LOST: what head2 wrote, for head1 wrote at the same time\n  node/n01: a=1 b={\"c\":[]} -> -\n  setting/x: true -> (9 bytes)\n  file/y: {} -> [1]\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLaterAddress(t *testing.T) {
	a, b := netip.MustParseAddr("10.77.0.11"), netip.MustParseAddr("10.77.0.207")
	diff := []wire.Difference{{Field: "address", New: a.String()}}
	for _, tt := range []struct {
		name string
		c    wire.Changed
		want string
	}{
		{"up with another", wire.Changed{Node: wire.Node{Phase: wire.PhaseUp, Lease: b, Address: a}, Diff: diff}, "it has 10.77.0.207 now, and 10.77.0.11 from its next boot or renewal on"},
		{"up with it", wire.Changed{Node: wire.Node{Phase: wire.PhaseUp, Lease: a, Address: a}, Diff: diff}, ""},
		{"down", wire.Changed{Node: wire.Node{Phase: wire.PhaseDown, Lease: b, Address: a}, Diff: diff}, ""},
		{"something else", wire.Changed{Node: wire.Node{Phase: wire.PhaseUp, Lease: b, Address: a}, Diff: []wire.Difference{{Field: "root"}}}, ""},
	} {
		if got := laterAddress(tt.c); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
