package arbiter

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

func TestOwnershipAfter(t *testing.T) {
	solo := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o := Ownership{Epoch: 5*16 + 1, Owner: "b", Solo: solo, DataUUID: "u", Told: 65, Voters: 2}
	for _, tt := range []struct {
		name, command string
		want          Ownership
	}{
		{"a claim, which says nothing of the data", `{"claim":{"owner":"a","id":0,"above":0}}`, Ownership{Epoch: 6 * 16, Owner: "a", Solo: solo, DataUUID: "u", Told: 65, Voters: 2}},
		{"a claim above what was seen elsewhere", `{"claim":{"owner":"a","id":0,"above":145}}`, Ownership{Epoch: 10 * 16, Owner: "a", Solo: solo, DataUUID: "u", Told: 65, Voters: 2}},
		{"facts", `{"facts":{"epoch":81,"data_uuid":"v"}}`, Ownership{Epoch: 81, Owner: "b", DataUUID: "v", Told: 81, Voters: 2}},
		{"facts, late", `{"facts":{"epoch":65,"data_uuid":"v"}}`, o},
		{"a list", `{"voters":3}`, Ownership{Epoch: 81, Owner: "b", Solo: solo, DataUUID: "u", Told: 65, Voters: 3}},
		{"an old list", `{"voters":1}`, o},
		{"a seed, late", `{"seed":{"epoch":7}}`, o},
		{"of a head that cannot be", `{"claim":{"owner":"x","id":16}}`, o},
		{"of a later version", `{"news":1}`, o},
		{"no command", `garbage`, o},
	} {
		m := &machine{changed: func() {}, now: o}
		m.Apply(&raft.Log{Data: []byte(tt.command)})
		if diff := cmp.Diff(tt.want, m.ownership()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
}

// TestEpochs shows that epochs only grow, and that each is of the head that claimed it.
func TestEpochs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Ownership{}.after(command{Seed: &Ownership{Epoch: failover.Epoch(rapid.Uint64Range(0, 1000).Draw(t, "seed"))}})
		for range rapid.IntRange(1, 50).Draw(t, "claims") {
			c := claim{ID: rapid.IntRange(0, failover.MaxHeads-1).Draw(t, "id"), Above: failover.Epoch(rapid.Uint64Range(0, 2000).Draw(t, "above"))}
			next := o.after(command{Claim: &c})
			if next.Epoch <= o.Epoch || next.Epoch <= c.Above || next.Epoch.Head() != c.ID {
				t.Fatalf("%v after %v, claimed by %d above %v", next.Epoch, o.Epoch, c.ID, c.Above)
			}
			o = next
		}
	})
}

type memorySink struct {
	bytes.Buffer
	closed bool
}

func (s *memorySink) Close() error  { s.closed = true; return nil }
func (s *memorySink) Cancel() error { return nil }
func (s *memorySink) ID() string    { return "" }

func TestSnapshot(t *testing.T) {
	want := Ownership{Epoch: 33, Owner: "b", Solo: time.Unix(5, 0).UTC(), DataUUID: "u", Voters: 4}
	snap, err := (&machine{now: want}).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var sink memorySink
	if err := snap.Persist(&sink); err != nil || !sink.closed {
		t.Fatalf("%v, closed %v", err, sink.closed)
	}
	told := false
	m := &machine{changed: func() { told = true }}
	if err := m.Restore(io.NopCloser(&sink.Buffer)); err != nil || !told {
		t.Fatalf("%v, told %v", err, told)
	}
	if diff := cmp.Diff(want, m.ownership()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := m.Restore(io.NopCloser(bytes.NewReader([]byte("{")))); err == nil {
		t.Error("half a snapshot is taken")
	}
}

func FuzzCommand(f *testing.F) {
	f.Add([]byte(`{"claim":{"owner":"a","id":1,"above":5},"voters":3}`))
	f.Add([]byte(`{"seed":{"epoch":7}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		start := Ownership{Epoch: 17, Owner: "b", Voters: 2}
		one, two := &machine{changed: func() {}, now: start}, &machine{changed: func() {}, now: start}
		one.Apply(&raft.Log{Data: b})
		two.Apply(&raft.Log{Data: b})
		if diff := cmp.Diff(one.now, two.now); diff != "" {
			t.Errorf("two heads came to different things: %s", diff)
		}
		if one.now.Epoch < 17 && one.now.Owner != start.Owner || one.now.Voters < 2 {
			t.Errorf("went back: %+v", one.now)
		}
		if _, err := json.Marshal(one.now); err != nil {
			t.Error(err)
		}
	})
}

func TestMark(t *testing.T) {
	for _, m := range []mark{{}, {seq: 1 << 40, lease: true}} {
		if got, ok := parseMark(m.append(nil)); !ok || got != m {
			t.Errorf("%+v came back as %+v", m, got)
		}
	}
	for _, b := range [][]byte{nil, []byte("127.0.0.1:80"), promised(5), make([]byte, markLen)} {
		if _, ok := parseMark(b); ok {
			t.Errorf("%x is taken for a mark", b)
		}
	}
	if !isPromised(promised(5), 5) || isPromised(promised(5), 6) || isPromised([]byte("127.0.0.1"), 5) || isPromised(mark{seq: 5, lease: true}.append(nil), 5) {
		t.Error("a promise is for one heartbeat")
	}
}

func TestNextChange(t *testing.T) {
	list := func(names ...string) (v RaftVoters) {
		for i, n := range names {
			v.Heads = append(v.Heads, RaftVoter{Name: n, ID: i, Addr: testAddr(n)})
		}
		return v
	}
	server := func(name string, s raft.ServerSuffrage) raft.Server {
		return raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(testAddr(name).String()), Suffrage: s}
	}
	votes := func(names ...string) (out []raft.Server) {
		for _, n := range names {
			out = append(out, server(n, raft.Voter))
		}
		return out
	}
	moved := votes("a", "b")
	moved[1].Address = "192.0.2.99:1"
	for _, tt := range []struct {
		name    string
		have    []raft.Server
		want    RaftVoters
		answers bool
		kind    changeKind
		of      raft.ServerID
	}{
		{"nothing", votes("a", "b"), list("a", "b"), true, noChange, ""},
		{"a new one is there without a vote first", votes("a"), list("a", "b"), true, changeAdd, "b"},
		{"all new ones, before one has a vote", append(votes("a"), server("b", raft.Nonvoter)), list("a", "b", "c"), true, changeAdd, "c"},
		{"who answers gets a vote", append(votes("a"), server("b", raft.Nonvoter)), list("a", "b"), true, changePromote, "b"},
		{"who does not gets none", append(votes("a"), server("b", raft.Nonvoter)), list("a", "b"), false, noChange, ""},
		{"nobody goes before those that come have a vote", append(votes("a", "c"), server("b", raft.Nonvoter)), list("a", "b"), false, noChange, ""},
		{"one goes", votes("a", "b", "c"), list("a", "b"), true, changeRemove, "c"},
		{"the leader goes last", votes("a", "b", "c"), list("b"), true, changeRemove, "c"},
		{"the leader hands over", votes("a", "b"), list("b"), true, changeLeave, "a"},
		{"another address", moved, list("a", "b"), true, changePromote, "b"},
	} {
		got := nextChange(tt.have, tt.want, "a", func(raft.ServerID) bool { return tt.answers })
		if got.kind != tt.kind || got.server.ID != tt.of {
			t.Errorf("%s: %v %s, want %v %s", tt.name, got.kind, got.server.ID, tt.kind, tt.of)
		}
	}
}
