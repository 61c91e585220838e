package stages

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/node/wire"
)

func TestRecorder(t *testing.T) {
	now := time.Duration(0)
	r := &Recorder{Uptime: func() time.Duration { return now }}
	step := func(stage wire.Stage, took time.Duration) {
		r.Begin(stage)
		now += took
		r.End("", nil, "")
	}
	now = 2 * time.Second
	step(wire.StageMounts, 500*time.Millisecond)
	step(wire.StageModules, time.Second)

	want := []wire.StageResult{
		{Stage: wire.StageMounts, Outcome: wire.OutcomeDone, At: 2.5, Took: 0.5},
		{Stage: wire.StageModules, Outcome: wire.OutcomeDone, At: 3.5, Took: 1},
	}
	pending, mark := r.Pending()
	if d := cmp.Diff(want, pending, cmpopts.IgnoreFields(wire.StageResult{}, "Time")); d != "" || mark != 2 {
		t.Errorf("pending, mark %d (-want +got):\n%s", mark, d)
	}
	r.Sent(mark)

	// A stage under way is told, and told again once it has ended.
	r.Begin(wire.StageNetwork)
	if pending, mark = r.Pending(); len(pending) != 1 || mark != 2 || pending[0].Outcome != wire.OutcomeRunning {
		t.Errorf("with a stage under way: %v, mark %d", pending, mark)
	}
	r.Sent(mark)
	r.End("eth0", nil, "")
	if pending, mark = r.Pending(); len(pending) != 1 || mark != 3 {
		t.Errorf("after its end: %v, mark %d", pending, mark)
	}

	file := filepath.Join(t.TempDir(), "stages.json")
	if err := r.Save(file); err != nil {
		t.Fatal(err)
	}
	again, err := Load(file)
	if d := cmp.Diff(r.All(), again.All()); d != "" || err != nil {
		t.Errorf("after Save and Load: %v\n%s", err, d)
	}
	if none, err := Load(filepath.Join(t.TempDir(), "absent")); err != nil || len(none.All()) != 0 {
		t.Errorf("a missing file: %v", err)
	}
}
