package arbiter

import (
	"testing"
	"time"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// scripted is a Lease whose voters say what the test says.
type scripted struct {
	*Lease
	t   *testing.T
	now failover.Instant
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	r := Roster{Version: 1, Voters: []Voter{
		{Name: "a", Head: 0}, {Name: "b", Head: 1}, {Name: "n1", Head: Witness}, {Name: "n2", Head: Witness}, {Name: "n3", Head: Witness},
	}}
	l, err := NewLease(LeaseConfig{Self: 0, Cluster: 7, Timing: failover.Normal()}, Rosters{Needed: []Roster{r}}, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &scripted{l, t, 0}
}

// round asks all whose turn it is, and gives their answers; it returns what they were asked.
func (s *scripted) round(answers map[string]witness.Answer) map[string]witness.Ask {
	s.t.Helper()
	asked := map[string]witness.Ask{}
	questions, _ := s.Next(s.now)
	for _, q := range questions {
		asked[q.To.Name] = q.Ask
	}
	s.now += time.Millisecond
	for name, a := range answers {
		if q, ok := asked[name]; ok {
			a.Nonce, a.Boot = q.Nonce, 9
			s.Heard(name, a, s.now)
		}
	}
	return asked
}

var yes = witness.Answer{Granted: true, Epoch: 16}

func TestLeaseTwoSteps(t *testing.T) {
	s := newScripted(t)
	s.Want(16, time.Unix(5, 0), "data", 0)
	most := map[string]witness.Answer{"a": yes, "n1": yes, "n2": yes}
	if got := s.round(most); got["n1"].Kind != witness.Claim || got["n1"].Holder != 0 || got["n1"].Epoch != 16 || len(got) != 5 {
		t.Errorf("first asked %+v", got)
	}
	if got := s.Authority(s.now); got.Held != 0 {
		t.Errorf("held before anybody knows what the owner is: %+v", got)
	}
	sent := s.now
	if got := s.round(most); got["n1"].Kind != witness.Renew || got["n1"].Facts.DataUUID != witness.UUID("data") || got["n1"].Voter != 9 {
		t.Errorf("then asked %+v", got)
	}
	if got := s.Authority(s.now); got.Held != 16 || got.Until != sent+550*time.Millisecond {
		t.Errorf("%+v, want 16 until 550 ms after it was asked for", got)
	}
	if got := s.Authority(sent + 550*time.Millisecond); got.Held != 0 {
		t.Errorf("held at its end: %+v", got)
	}
}

func TestLeaseAnswersForAnotherEpoch(t *testing.T) {
	s := newScripted(t)
	s.Want(16, time.Time{}, "", 0)
	questions, _ := s.Next(0)
	s.Want(32, time.Time{}, "", 0)
	for _, q := range questions {
		s.Heard(q.To.Name, witness.Answer{Nonce: q.Ask.Nonce, Granted: true, Epoch: 16}, 0)
	}
	if until := s.grantedUntil(); until > 0 {
		t.Errorf("what was granted for 16 counts for 32 until %v", until)
	}
}

func TestLeaseBelowKnown(t *testing.T) {
	s := newScripted(t)
	s.Want(16, time.Time{}, "", 0)
	s.round(map[string]witness.Answer{"b": {Reason: witness.Held, Epoch: 33, Holder: 1, Left: 300 * time.Millisecond}})
	if got := s.Authority(s.now); got.Known != 33 || got.Owner != "b" || got.Refused != "epoch 2.1 is known, 1.0 is not above it" {
		t.Errorf("%+v", got)
	}
	s.now += time.Second
	if got := s.round(nil); got["n1"].Kind == witness.Claim || got["n1"].Kind == witness.Renew {
		t.Errorf("still asks for it: %+v", got["n1"])
	}
	s.Want(48, time.Time{}, "", s.now)
	if got := s.round(nil); got["n1"].Kind != witness.Claim || got["n1"].Epoch != 48 {
		t.Errorf("asks %+v", got["n1"])
	}
	s.Want(0, time.Time{}, "", s.now)
	if got := s.round(nil); got["n1"].Kind != witness.Release || got["n1"].Epoch != 48 {
		t.Errorf("asks %+v", got["n1"])
	}
	s.Want(48, time.Time{}, "", s.now)
	s.now += time.Second
	if got := s.round(nil); got["n1"].Kind == witness.Claim {
		t.Errorf("asks again for what was given back: %+v", got["n1"])
	}
}

func TestLeaseVouches(t *testing.T) {
	memory := func(epoch uint64) witness.Answer {
		return witness.Answer{Epoch: epoch, Remembers: true, Owned: epoch, Facts: witness.Facts{Solo: time.Unix(int64(epoch), 0)}}
	}
	forgot := witness.Answer{Epoch: 33}
	followed := witness.Answer{Epoch: 33, Remembers: true, Owned: 33}
	for _, tt := range []struct {
		name    string
		answers map[string]witness.Answer
		want    bool
		solo    int64
	}{
		{"nobody is there", nil, false, 0},
		{"one witness of three", map[string]witness.Answer{"n1": memory(33)}, false, 0},
		{"one, and two that forgot", map[string]witness.Answer{"n1": memory(33), "n2": forgot, "n3": forgot}, false, 0},
		{"two", map[string]witness.Answer{"n1": memory(33), "n2": memory(33)}, true, 33},
		{"two, one of which was away", map[string]witness.Answer{"n1": memory(16), "n2": memory(33), "n3": forgot}, true, 33},
		{"two, one of which heard of its being alone", map[string]witness.Answer{"n1": followed, "n2": memory(33)}, true, 33},
		{"and the other way round", map[string]witness.Answer{"n1": memory(33), "n2": followed}, true, 33},
		{"the other head", map[string]witness.Answer{"b": memory(33), "n1": forgot}, true, 33},
		{"the other head, which forgot", map[string]witness.Answer{"b": forgot, "n1": memory(33)}, false, 0},
		{"only this one", map[string]witness.Answer{"a": memory(33), "n1": memory(33)}, false, 0},
	} {
		s := newScripted(t)
		s.round(tt.answers)
		got := s.Authority(s.now)
		if got.Vouches != tt.want || tt.want && (got.Solo.Unix() != tt.solo || got.Owned != 33) {
			t.Errorf("%s: vouches %v, epoch %v, solo %v; want %v, %v", tt.name, got.Vouches, got.Owned, got.Solo, tt.want, tt.solo)
		}
	}
}

func TestLeaseWords(t *testing.T) {
	s := newScripted(t)
	s.Want(16, time.Time{}, "", 0)
	s.round(map[string]witness.Answer{
		"a":  {Reason: witness.Abstains, Left: 200 * time.Millisecond},
		"n1": {Reason: witness.Held, Epoch: 1, Holder: 1, Left: 320 * time.Millisecond},
		"n2": {Reason: witness.Held, Epoch: 1, Holder: 1, Left: 320 * time.Millisecond},
		"n3": {Reason: witness.OldGen},
	})
	s.now += 30 * time.Millisecond
	s.round(nil)
	want := "a: has restarted and abstains for another 170ms; b: no answer; n1, n2: b has the lease for another 290ms; " +
		"n3: the cluster was recovered since; this head is not of its new generation"
	if got := s.Authority(s.now).Refused; got != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	if got, want := s.Votes(s.now), "1 of 3: no head; n1, n2, n3 of n1, n2, n3 as witnesses"; got != want {
		t.Errorf("votes: %q, want %q", got, want)
	}
}
