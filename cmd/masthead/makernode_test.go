package main

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/appliance/maker"
	"masthead/appliance/registry"
	"masthead/node/wire"
)

// A machine becomes a clone whatever it was to the head before, and what it was again when that is taken back; also by a
// later run, after one that was cut off.
func TestCloneRecord(t *testing.T) {
	to := startHead(t)
	var r remote
	r.head, r.ca, r.tokenFile = to[1], to[3], to[5]
	c, err := r.client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	add := func(change wire.NodeChange) {
		t.Helper()
		if _, err := c.AddNode(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	text := func(s string) *string { return &s }
	yes, no := true, false
	add(wire.NodeChange{Name: text("n05"), MAC: text("52:54:00:00:00:05"), Address: text("10.77.0.25"), Root: text("ram"), Approved: &yes,
		Groups: &[]string{"rack1"}, Attrs: map[string]string{"slot": "7"}})
	add(wire.NodeChange{Name: text("x-525400000006"), MAC: text("52:54:00:00:00:06"), Approved: &no})
	before, err := c.Nodes(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for host, mac := range map[string]string{"n05": "52:54:00:00:00:05", "52:54:00:00:00:06": "52:54:00:00:00:06", "52-54-00-00-00-07": "52:54:00:00:00:07"} {
		newRun := func() *making {
			a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, output: "text"}
			m := &making{app: a, c: c, dir: dir, show: newMakerShow(a), f: makerFlags{wishes: maker.Wishes{Host: host, Name: "head2", Address: "10.77.0.2/24"}}}
			m.master = maker.Master{Name: "head1", Address: netip.MustParsePrefix("10.77.0.1/24"), Heads: []string{"head1"}}
			var err error
			if m.journal, err = maker.ReadJournal(dir, host); err != nil {
				t.Fatal(err)
			}
			if err := m.takeUp(t.Context()); err != nil {
				t.Fatalf("%s: %v", host, err)
			}
			return m
		}
		m := newRun()
		if err := m.makeClone(t.Context()); err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		n, err := c.Node(t.Context(), "head2")
		if err != nil || n.MAC != mac || n.Address.String() != "10.77.0.2" || n.Attrs["role"] != registry.RoleClone || !n.Approved || n.Root != "" {
			t.Errorf("%s: the clone is %+v, %v", host, n, err)
		}
		// That run ends here, with its machine. The next one does it again, and takes it back.
		again := newRun()
		err = errors.Join(again.makeClone(t.Context()), again.unmakeClone(t.Context()))
		after, e := c.Nodes(t.Context(), "")
		ignore := cmpopts.IgnoreFields(wire.Node{}, "Phase", "Seen", "Wanted")
		if d := cmp.Diff(before, after, ignore, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); errors.Join(err, e) != nil || d != "" {
			t.Errorf("%s: %v\n%s", host, err, d)
		}
		if again.journal.Changed {
			t.Errorf("%s: the journal says that the record is still changed", host)
		}
	}
	// A head of the cluster is none to be made.
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, output: "text"}
	m := &making{app: a, c: c, dir: dir, master: maker.Master{Name: "head1", Heads: []string{"head1", "n05"}}, f: makerFlags{wishes: maker.Wishes{Host: "n05"}}}
	if err := m.takeUp(t.Context()); err == nil || !strings.Contains(err.Error(), "n05 is a head of this cluster") {
		t.Errorf("a head: %v", err)
	}
	// So is this machine, by its address.
	m.f.wishes = maker.Wishes{Host: "127.0.0.1"}
	if err := m.takeUp(t.Context()); err == nil || !strings.Contains(err.Error(), "127.0.0.1 is this head, head1") {
		t.Errorf("this head: %v", err)
	}
	// What is for a login makes no sense where there is none.
	m.f.wishes, m.f.forSSH = maker.Wishes{Host: "52:54:00:00:00:07"}, []string{"--host-key"}
	var usage usageError
	if err := m.takeUp(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "--host-key: for a machine that is reached by SSH") {
		t.Errorf("a host key of a machine that boots from the network: %v", err)
	}
}

// What master-maker says when a step fails, and what it notes.
func TestMakerFailed(t *testing.T) {
	dir := t.TempDir()
	a := &app{out: &bytes.Buffer{}, err: &bytes.Buffer{}, output: "text"}
	for _, tt := range []struct {
		final bool
		err   error
		want  string
		try   string
		done  int
	}{
		{false, errors.New("broken"), "step join: broken; this head is as it was", "masthead master-maker b", 0},
		{true, errors.New("broken"), "step join: broken; what was done stays", "masthead master-maker b", 1},
		{false, &hint{errors.New("broken"), "lsblk"}, "this head is as it was", "lsblk", 0},
		{false, &hint{errLost, "masthead node why b"}, "this head is as it was", "masthead master-maker b", 0}, // there is no node any more
		{false, context.Canceled, "context canceled; this head is as it was", "masthead master-maker b", 0},
	} {
		m := &making{app: a, f: makerFlags{wishes: maker.Wishes{Host: "b"}}, dir: dir, journal: maker.Journal{Host: "b", Done: []string{"node"}}}
		err := m.failed(&maker.StepError{Step: "join", Final: tt.final, Err: tt.err})
		if !strings.Contains(err.Error(), tt.want) || tryText(err) != tt.try || len(m.journal.Done) != tt.done {
			t.Errorf("%v: %v; try: %s; done %v", tt.err, err, tryText(err), m.journal.Done)
		}
	}
}
