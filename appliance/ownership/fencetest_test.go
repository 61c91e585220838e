package ownership

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/node/wire"
)

// Who asks while a test is under way waits for the same one; then another one begins.
func TestFenceTestIsOne(t *testing.T) {
	s := &serving{ctx: t.Context(), tests: map[string]*fenceTest{}}
	runs, release := 0, make(chan struct{})
	run := func(context.Context, string) []wire.FenceState {
		runs++
		<-release
		return []wire.FenceState{{Head: "head2", Power: "on"}}
	}
	first := s.test("head2", run)
	if s.test("head2", run) != first {
		t.Error("two tests of one head at once")
	}
	close(release)
	<-first.done
	s.wait()
	if len(first.all) != 1 || first.all[0].Power != "on" || runs != 1 {
		t.Errorf("%+v after %d runs", first.all, runs)
	}
	if second := s.test("head2", run); second == first {
		t.Error("a test that has ended is taken for the next one")
	}
	s.wait()
}

func TestUnfinished(t *testing.T) {
	began := time.Now()
	all := []wire.FenceState{
		{Head: "head1", Device: "other"},
		{Head: "head2", Device: "quick", Agent: "qmp", Checked: began.Add(time.Second)},
		{Head: "head2", Device: "slow", Agent: "fence_apc", Checked: began.Add(-time.Minute), Power: "on"},
		{Head: "head2", Device: "never", Agent: "ipmi"},
		{Head: "head2", Device: "person", Agent: "manual"},
	}
	want := []wire.FenceState{
		{Head: "head2", Device: "quick", Agent: "qmp", Checked: began.Add(time.Second)},
		{Head: "head2", Device: "slow", Agent: "fence_apc", Checked: began.Add(-time.Minute), Power: "on", Asking: true},
		{Head: "head2", Device: "never", Agent: "ipmi", Asking: true},
		{Head: "head2", Device: "person", Agent: "manual"},
	}
	if diff := cmp.Diff(want, unfinished(all, "head2", began)); diff != "" {
		t.Error(diff)
	}
}
