package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/node/wire"
)

// What cannot be taken back is asked for: by a person at a terminal, or by a flag.
func TestChangeHeadsAsks(t *testing.T) {
	refusal := errors.New("head2 answers")
	for _, tt := range []struct {
		name    string
		yes     bool
		change  wire.HeadChange
		refused error
		asked   []wire.HeadChange
		err     string
		out     string
	}{
		{"nobody there", false, wire.HeadChange{Stolen: true}, nil, []wire.HeadChange{{Stolen: true, DryRun: true}}, "nobody is there to confirm it", ""},
		{"yes", true, wire.HeadChange{Force: true}, nil, []wire.HeadChange{{Force: true, Confirm: "head2"}}, "", "heads: changes\n  head2 goes\n"},
		{"dry run", false, wire.HeadChange{DryRun: true}, nil, []wire.HeadChange{{Confirm: "head2", DryRun: true}}, "", "heads: would change\n  head2 goes\n"},
		{"refused", false, wire.HeadChange{}, refusal, []wire.HeadChange{{DryRun: true}}, "head2 answers", ""},
	} {
		var out, errs bytes.Buffer
		var asked []wire.HeadChange
		a := &app{in: strings.NewReader("head2\n"), out: &out, err: &errs}
		err := a.changeHeads(headQuestion{ask: "name? ", name: "head2", yes: tt.yes, try: "again --yes"}, tt.change, func(c wire.HeadChange) (wire.HeadChanged, error) {
			asked = append(asked, c)
			return wire.HeadChanged{Steps: []string{"head2 goes"}, Applied: !c.DryRun}, tt.refused
		})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tt.err {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
		if !slices.Equal(asked, tt.asked) {
			t.Errorf("%s: %s", tt.name, cmp.Diff(tt.asked, asked))
		}
		if diff := cmp.Diff(tt.out, out.String()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if tt.name == "nobody there" && !strings.Contains(errs.String(), "head2 goes") {
			t.Errorf("what would change is not shown: %q", errs.String())
		}
	}
}

func TestHeadThatWaitsSaysSo(t *testing.T) {
	for _, tt := range []struct {
		m    wire.Membership
		want string
	}{
		{wire.Membership{Name: "head3", State: wire.MemberJoining, Reason: "it has no join token", Try: "masthead head join 10.77.0.1"},
			"head head3 waits to join a cluster, and serves nobody: it has no join token\ntry: masthead head join 10.77.0.1\n"},
		{wire.Membership{Name: "head3", State: wire.MemberJoining},
			"head head3 waits to join a cluster, and serves nobody\ntry: masthead head join ADDRESS --token-file FILE\n"},
		{wire.Membership{Name: "head3", State: wire.MemberSolo}, "no heads yet\n"},
	} {
		var out bytes.Buffer
		(&app{out: &out}).sayWaits(tt.m)
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDegradedIsSaidOnce(t *testing.T) {
	var errs bytes.Buffer
	(&app{err: &errs}).sayDegraded("no other head has it: head2 does not answer")
	if got, want := errs.String(), "warning: degraded: no other head has it: head2 does not answer\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
