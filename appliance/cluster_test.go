package appliance

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/state"
	"masthead/node/wire"
)

func TestClockTrouble(t *testing.T) {
	const rest = " this one's (above 10 s changes are refused); try: chronyc makestep, or date -s TIME, on the one that is wrong"
	for _, tt := range []struct {
		name string
		head wire.HeadStatus
		want []string
	}{
		{"a little", wire.HeadStatus{Name: "head2", Alive: true, Skew: 1}, nil},
		{"a little behind", wire.HeadStatus{Name: "head2", Alive: true, Skew: -1}, nil},
		{"ahead", wire.HeadStatus{Name: "head2", Alive: true, Skew: 3.24}, []string{"head2's clock is 3.2 s ahead of" + rest}},
		{"behind", wire.HeadStatus{Name: "head2", Alive: true, Skew: -1.1}, []string{"head2's clock is 1.1 s behind" + rest}},
		{"dead, as it was last", wire.HeadStatus{Name: "head2", Skew: 3}, nil},
		{"itself", wire.HeadStatus{Name: "head2", Self: true, Alive: true, Skew: 3}, nil},
	} {
		if diff := cmp.Diff(tt.want, clockTrouble([]wire.HeadStatus{{Name: "head1", Self: true, Alive: true}, tt.head})); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestLostTrouble(t *testing.T) {
	now := time.Now()
	entry := func(ago time.Duration, lost bool) state.AuditEntry {
		e := state.AuditEntry{Time: now.Add(-ago)}
		if lost {
			e.Conflict = &state.AuditConflict{}
		}
		return e
	}
	for _, tt := range []struct {
		entries []state.AuditEntry
		want    []string
	}{
		{[]state.AuditEntry{entry(0, false), entry(25*time.Hour, true)}, nil},
		{[]state.AuditEntry{entry(time.Hour, true), entry(25*time.Hour, true)}, []string{"1 change was lost to a concurrent one: masthead audit -n 200"}},
		{[]state.AuditEntry{entry(0, true), entry(0, false), entry(23*time.Hour, true)}, []string{"2 changes were lost to concurrent ones: masthead audit -n 200"}},
	} {
		if diff := cmp.Diff(tt.want, lostTrouble(tt.entries, now)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDegraded(t *testing.T) {
	self, two, three := wire.HeadStatus{Name: "head1", Self: true}, wire.HeadStatus{Name: "head2"}, wire.HeadStatus{Name: "head3"}
	live := wire.HeadStatus{Name: "head4", Alive: true}
	for _, tt := range []struct {
		heads []wire.HeadStatus
		want  string
	}{
		{[]wire.HeadStatus{self}, ""},
		{[]wire.HeadStatus{self, two}, "only this head has what is written now: head2 does not answer"},
		{[]wire.HeadStatus{self, two, three}, "only this head has what is written now: head2, head3 do not answer"},
		{[]wire.HeadStatus{self, two, live}, ""},
	} {
		if got := degraded(tt.heads); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// What is wrong with a head that waits says what to type there, as each refusal does.
func TestStuckSaysWhatToType(t *testing.T) {
	var m membership
	if !m.stuck(&problem{409, "no join token", "masthead head join ADDRESS"}) || m.try != "masthead head join ADDRESS" {
		t.Errorf("try %q", m.try)
	}
	if got := tryOf(errors.Join(errors.New("other"), &problem{409, "x", "y"})); got != "y" {
		t.Errorf("wrapped: %q", got)
	}
}
