package slot

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/images"
	"masthead/images/disk"
	"masthead/node/wire"
)

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		env     disk.Env
		running disk.Slot
		want    Standing
	}{
		{disk.Env{Slot: "a"}, "a", Good},
		{disk.Env{Slot: "a", Try: "b"}, "a", Good},
		{disk.Env{Slot: "a", Tried: "b"}, "b", OnTrial},
		{disk.Env{Slot: "a", Tried: "b"}, "a", FellBack},
		{disk.Env{Slot: "a"}, "b", Chosen},
		{disk.Env{Slot: "a", Tried: "a"}, "a", Good}, // the good one was tried once more
	} {
		if got := Judge(tt.env, tt.running); got != tt.want {
			t.Errorf("%+v, running %s: got %s, want %s", tt.env, tt.running, got, tt.want)
		}
	}
}

// grub is what its configuration does with the block at a start: the slot that it starts.
func grub(e *disk.Env) disk.Slot {
	if e.Try != "" {
		e.Tried, e.Try = e.Try, ""
		return e.Tried
	}
	return e.Slot
}

// Whatever happens in whatever order, a slot that was never healthy is started once for each time that somebody asked for
// it, and the good one starts otherwise.
func TestTrials(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		env := disk.Env{Slot: "a"}
		good := map[disk.Slot]bool{"a": true}
		asked := 0
		for range rapid.IntRange(1, 30).Draw(t, "starts") {
			before := env
			running := grub(&env)
			if !good[running] {
				if before.Try != running || asked == 0 {
					t.Fatalf("slot %s was started by %+v, and nobody asked for it", running, before)
				}
				asked--
			}
			switch Judge(env, running) {
			case OnTrial:
				if rapid.Bool().Draw(t, "healthy") {
					env, good[running] = MarkGood(running), true
				}
				continue
			case FellBack:
				env = Settle(env)
			}
			if rapid.Bool().Draw(t, "upgrade") {
				good[running.Other()] = false
				env = Try(disk.Env{Slot: running}, running.Other())
				asked = 1
			}
		}
	})
}

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	if r, err := ReadRecord(dir); err != nil || r.Trial != nil {
		t.Fatalf("of nothing: %+v, %v", r, err)
	}
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	d := images.DigestOf([]byte("x"))
	r := Record{Slots: map[disk.Slot]Image{"b": {Name: "head", Digest: d}}, Trial: &Trial{Slot: "b", Image: d, Began: now, Deadline: time.Minute, Reason: "head run does not answer"}}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(dir)
	if d := cmp.Diff(r, got); d != "" || err != nil {
		t.Errorf("record (-want +got), %v:\n%s", err, d)
	}
	back, f := FellBackNow(got, "b", now)
	if back.Trial != nil || f.Reason != "head run does not answer" || f.Image != d || back.Failed == nil {
		t.Errorf("after the fall back: %+v, %+v", back, f)
	}
	if want := "the upgrade to image " + d.Short() + " in slot b did not come up healthy and fell back to slot a: head run does not answer"; f.Text("a") != want {
		t.Errorf("got %q, want %q", f.Text("a"), want)
	}
	if _, f := FellBackNow(Record{}, "b", now); f.Reason != silent {
		t.Errorf("a trial that said nothing: %+v", f)
	}
	if err := os.WriteFile(dir+"/"+images.SlotsFile, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(dir); err == nil || !strings.Contains(err.Error(), "slots.json") {
		t.Errorf("damaged: %v", err)
	}
}

func TestLacks(t *testing.T) {
	away := errors.New("connection refused")
	healthy := func(f func(*Observation)) Observation {
		o := Observation{Init: "running", Head: wire.Status{Name: "h1", Nodes: []wire.Node{{Name: "h1", Phase: wire.PhaseUp}},
			Heads: []wire.HeadStatus{{Name: "h1", Self: true, Alive: true}, {Name: "h2", Alive: true, Equal: true}}}, Member: wire.Membership{State: wire.MemberHead}}
		if f != nil {
			f(&o)
		}
		return o
	}
	for _, tt := range []struct {
		name string
		o    Observation
		want []string
	}{
		{"healthy", healthy(nil), nil},
		{"without systemd", healthy(func(o *Observation) { o.Init = "" }), nil},
		{"a unit has failed", healthy(func(o *Observation) { o.Init = "degraded" }), nil},
		{"the other head is off", healthy(func(o *Observation) { o.Head.Heads[1] = wire.HeadStatus{Name: "h2"} }), nil},
		{"alone, without a network", healthy(func(o *Observation) {
			o.Head.Nodes, o.Head.Heads, o.Member.State = nil, nil, wire.MemberSolo
		}), nil},
		{"systemd starts", healthy(func(o *Observation) { o.Init = "starting" }), []string{"systemd is starting"}},
		{"systemd hangs", healthy(func(o *Observation) { o.InitErr = away }), []string{"systemd does not answer: connection refused"}},
		{"head run is dead", healthy(func(o *Observation) { o.HeadErr, o.OwnerErr = away, away }), []string{"head run does not answer: connection refused"}},
		{"the agent is dead", healthy(func(o *Observation) { o.Head.Nodes[0].Phase = wire.PhaseBooting }), []string{"the agent has not reported: this machine is booting"}},
		{"the owner daemon is dead", healthy(func(o *Observation) { o.OwnerErr = away }), []string{"the owner daemon does not answer: connection refused"}},
		{"removed", healthy(func(o *Observation) { o.Member = wire.Membership{State: wire.MemberRemoved, Reason: "ejected"} }), []string{"the head is removed: ejected"}},
		{"another state", healthy(func(o *Observation) { o.Head.Heads[1].Equal = false }), []string{"its state is not that of h2 yet"}},
		{"a full disk", healthy(func(o *Observation) { o.Head.ReadOnly = "no space" }), []string{"the state is read-only: no space"}},
	} {
		if d := cmp.Diff(tt.want, Lacks(tt.o)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(`{"slots":{"a":{"name":"x"}},"trial":{"slot":"b","deadline":60}}`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if os.WriteFile(dir+"/"+images.SlotsFile, []byte(text), 0o600) != nil {
			return
		}
		if r, err := ReadRecord(dir); err == nil {
			if err := r.Write(dir); err != nil {
				t.Error(err)
			}
		}
	})
}
