package data

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func snapshotAt(age time.Duration, kind string) Snapshot {
	at := noon.Add(-age)
	return Snapshot{snapshotName(at, kind), kind, at}
}

func TestPlan(t *testing.T) {
	hourly := []Schedule{{"1h", 2}}
	tests := []struct {
		name        string
		have        []Snapshot
		schedules   []Schedule
		due, remove []string
	}{
		{"nothing", nil, nil, nil, nil},
		{"the first", nil, hourly, []string{"every-1h"}, nil},
		{"not yet", []Snapshot{snapshotAt(59*time.Minute, "every-1h")}, hourly, nil, nil},
		{"due, and the oldest goes", []Snapshot{snapshotAt(2*time.Hour, "every-1h"), snapshotAt(time.Hour, "every-1h")}, hourly, []string{"every-1h"}, []string{"20261122-100000-every-1h"}},
		{"a person's own stay", []Snapshot{snapshotAt(1000*time.Hour, "manual"), snapshotAt(time.Minute, "every-1h")}, hourly, nil, nil},
		{"a schedule that is gone", []Snapshot{snapshotAt(time.Hour, "every-5m")}, nil, nil, []string{"20261122-110000-every-5m"}},
		{"three before resyncs", []Snapshot{snapshotAt(4, "resync"), snapshotAt(3*time.Hour, "resync"), snapshotAt(2*time.Hour, "resync"), snapshotAt(time.Hour, "resync")}, nil, nil, []string{"20261122-090000-resync"}},
		{"made while the clock was a little ahead", []Snapshot{snapshotAt(-time.Minute, "every-1h")}, hourly, nil, nil},
		{"made while the clock was a day ahead", []Snapshot{snapshotAt(-24*time.Hour, "every-1h")}, hourly, []string{"every-1h"}, nil},
		{"two schedules", []Snapshot{snapshotAt(time.Minute, "every-1h")}, []Schedule{{"1h", 2}, {"24h", 7}}, []string{"every-24h"}, nil},
	}
	for _, tt := range tests {
		due, remove := Plan(noon, tt.have, tt.schedules)
		if diff := cmp.Diff(tt.due, due); diff != "" {
			t.Errorf("%s: due (-want +got):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.remove, remove); diff != "" {
			t.Errorf("%s: removed (-want +got):\n%s", tt.name, diff)
		}
	}
}

// However long a schedule runs: there are never more than it keeps, the newest stay, and a person's own are never touched.
func TestPlanKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keep := rapid.IntRange(1, 5).Draw(t, "keep")
		schedules := []Schedule{{"1h", keep}}
		have := []Snapshot{snapshotAt(time.Duration(rapid.IntRange(0, 100).Draw(t, "hours"))*time.Hour, KindManual)}
		own := have[0].Name
		now := noon
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "minutes")) * time.Minute)
			due, remove := Plan(now, have, schedules)
			for _, kind := range due {
				have = append(have, Snapshot{snapshotName(now, kind), kind, now})
			}
			have = slices.DeleteFunc(have, func(s Snapshot) bool { return slices.Contains(remove, s.Name) })
			var scheduled []Snapshot
			for _, s := range have {
				if s.Kind == "every-1h" {
					scheduled = append(scheduled, s)
				}
			}
			if len(scheduled) > keep || len(scheduled) == 0 {
				t.Fatalf("%d of %d", len(scheduled), keep)
			}
			if age := now.Sub(scheduled[len(scheduled)-1].Time); age >= time.Hour {
				t.Fatalf("the newest is %v old", age)
			}
			if !slices.ContainsFunc(have, func(s Snapshot) bool { return s.Name == own }) {
				t.Fatal("a person's own is gone")
			}
		}
	})
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add("20261122-120000-manual")
	f.Add("20261122-120000-")
	f.Add("live")
	f.Fuzz(func(t *testing.T, name string) {
		s, ok := parseSnapshot(name)
		if ok && snapshotName(s.Time, s.Kind) != name {
			t.Errorf("%q became %q", name, snapshotName(s.Time, s.Kind))
		}
	})
}

func TestDifferences(t *testing.T) {
	before, after := t.TempDir(), t.TempDir()
	write := func(base, path, text string, at time.Time) {
		file := filepath.Join(base, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write(before, "srv/same", "x", noon)
	write(after, "srv/same", "x", noon)
	write(before, "srv/touched", "x", noon)
	write(after, "srv/touched", "y", noon.Add(time.Second))
	write(before, "srv/gone", "abc", noon)
	write(after, "srv/new/file", "abcd", noon)
	write(before, "srv/kind/file", "x", noon)
	write(after, "srv/kind", "was a folder", noon)
	got, err := differences(t.Context(), before, after)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, d := range got {
		words = append(words, d.String())
	}
	want := []string{
		"removed  /srv/gone", "changed  /srv/kind", "removed  /srv/kind/file", "added    /srv/new", "added    /srv/new/file", "changed  /srv/touched",
	}
	if diff := cmp.Diff(want, words); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
