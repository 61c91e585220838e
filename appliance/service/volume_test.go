package service

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// fakeVolumes is a volume whose file systems are in memory.
type fakeVolumes struct {
	dir     string
	primary bool
	said    []string
	fails   string   // the call that fails
	silent  bool     // nobody can tell how the volume stands
	waits   bool     // Promote does, for ever
	bounded []string // the calls that have to end some time
}

func (f *fakeVolumes) say(what string) error {
	f.said = append(f.said, what)
	if what == f.fails {
		return errors.New(what + " fails")
	}
	return nil
}

func (f *fakeVolumes) bound(ctx context.Context, what string) {
	if _, ok := ctx.Deadline(); ok {
		f.bounded = append(f.bounded, what)
	}
}

func (f *fakeVolumes) Promote(ctx context.Context, _ string) error {
	f.bound(ctx, "promote")
	if f.waits {
		<-ctx.Done()
		return errors.New("waits for the other copy")
	}
	err := f.say("promote")
	f.primary = err == nil
	return err
}

func (f *fakeVolumes) Demote(context.Context, string) error {
	err := f.say("demote")
	f.primary = f.primary && err != nil
	return err
}

func (f *fakeVolumes) Primary(string) (bool, error) {
	if f.silent {
		return false, ErrUnclear
	}
	return f.primary, nil
}

func (f *fakeVolumes) Prepare(ctx context.Context, _ string) error {
	f.bound(ctx, "prepare")
	table, err := readMounts()
	if _, ok := table.top(filepath.Join(f.dir, "volume")); !ok || err != nil {
		return errors.New("prepared before it was mounted")
	}
	return f.say("prepare")
}

func (f *fakeVolumes) Mounts(string) []Filesystem {
	return []Filesystem{
		{Device: "volume", Path: filepath.Join(f.dir, "volume"), Type: "tmpfs"},
		{Device: "folder", Path: filepath.Join(f.dir, "volume", "srv"), Type: "tmpfs"},
	}
}

func TestVolume(t *testing.T) {
	v := &fakeVolumes{dir: mountable(t)}
	do := func(o op) result {
		w := world{run: execute, log: quiet(), volumes: v}
		return w.operate(t.Context(), job{res: Resource{Data: &Data{Volume: "data"}}, op: o, limit: 10 * time.Second, env: []string{"PATH=" + path}})
	}
	if r := do(check); r.verdict != down {
		t.Errorf("before: %+v", r)
	}
	if r := do(start); r.err != nil {
		t.Fatalf("start: %+v", r)
	}
	if r := do(check); r.verdict != up {
		t.Errorf("started: %+v", r)
	}
	v.silent = true // while another head joins, the copies are given to the kernel's answers anew
	if r := do(check); r.verdict != unclear {
		t.Errorf("nobody can tell: %+v", r)
	}
	v.silent = false
	v.primary = false
	if r := do(check); r.verdict != bad {
		t.Errorf("mounted, and the copy only follows: %+v", r)
	}
	v.primary = true
	if r := do(stop); r.err != nil {
		t.Fatalf("stop: %+v", r)
	}
	if r := do(check); r.verdict != down {
		t.Errorf("stopped: %+v", r)
	}
	if want := []string{"promote", "prepare", "demote"}; !slices.Equal(v.said, want) {
		t.Errorf("calls %q, want %q", v.said, want)
	}
}

// Folders may be filled for as long as it takes; all else is done soon or has failed.
func TestVolumeSoon(t *testing.T) {
	const soon = 200 * time.Millisecond
	v := &fakeVolumes{dir: mountable(t), waits: true}
	vol := volume{world{run: execute, log: quiet(), volumes: v}, "data", []string{"PATH=" + path}, soon}
	var late timeoutError
	if err := vol.start(t.Context()); !errors.As(err, &late) || late.after != soon {
		t.Errorf("a promotion that waits: %v", err)
	}
	v.waits, v.bounded, vol.soon = false, nil, time.Minute
	if err := vol.start(t.Context()); err != nil || !slices.Equal(v.bounded, []string{"promote"}) {
		t.Errorf("bounded are %q, %v", v.bounded, err)
	}
	if limit := (Resource{Data: &Data{}}).limit(start); limit != DefaultFill {
		t.Errorf("the start of a volume may take %v", limit)
	}
	if limit := (Resource{Data: &Data{}, StartTimeout: time.Minute}).limit(start); limit != time.Minute {
		t.Errorf("where the configuration says a minute, %v", limit)
	}
}

// What cannot be demoted is not stopped, and what cannot be promoted is not mounted.
func TestVolumeFails(t *testing.T) {
	v := &fakeVolumes{dir: mountable(t), fails: "promote"}
	do := func(o op) result {
		w := world{run: execute, log: quiet(), volumes: v}
		return w.operate(t.Context(), job{res: Resource{Data: &Data{Volume: "data"}}, op: o, limit: 10 * time.Second, env: []string{"PATH=" + path}})
	}
	if r := do(start); r.err == nil {
		t.Error("it started")
	}
	if r := do(check); r.verdict != down {
		t.Errorf("after a failed start: %+v", r)
	}
	v.fails = ""
	if r := do(start); r.err != nil {
		t.Fatal(r.err)
	}
	v.fails = "demote"
	if r := do(stop); r.err == nil {
		t.Error("it was stopped")
	}
}
