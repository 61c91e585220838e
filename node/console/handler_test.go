package console

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHandler(t *testing.T) {
	tests := []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"stage", func(l *slog.Logger) { l.With(Stage, "network").Info("eth0 10.77.0.11/24 by dhcp") },
			"masthead[ 3.214] network: eth0 10.77.0.11/24 by dhcp\n"},
		{"attributes", func(l *slog.Logger) { l.With("nic", "eth0").Info("lease", "took", 1234567*time.Microsecond) },
			"masthead[ 3.214] lease nic=eth0 took=1.235s\n"},
		{"quoted", func(l *slog.Logger) { l.Error("no root", Stage, "root", "err", errors.New("connection refused")) },
			"masthead[ 3.214] root: error: no root err=\"connection refused\"\n"},
		{"warning", func(l *slog.Logger) { l.Warn("slow") }, "masthead[ 3.214] warning: slow\n"},
		{"group", func(l *slog.Logger) { l.WithGroup("g").Info("m", Stage, "s", slog.Group("h", "a", 1)) },
			"masthead[ 3.214] m g.stage=s g.h.a=1\n"},
		{"control characters", func(l *slog.Logger) { l.Info("a\x1b[2J\nb", "k", "\x1b[31m") },
			"masthead[ 3.214] a [2J b k=\"\\x1b[31m\"\n"},
		{"below the level", func(l *slog.Logger) { l.Debug("m") }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			at := func() time.Duration { return 3214 * time.Millisecond }
			tt.log(slog.New(NewHandler(&b, slog.LevelInfo, at)))
			if d := cmp.Diff(tt.want, b.String()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// slogtest knows the rules that every handler must keep. Ours leaves out time and level by intent.
func TestHandlerKeepsTheRules(t *testing.T) {
	var b bytes.Buffer
	results := func() []map[string]any {
		var all []map[string]any
		for line := range strings.Lines(b.String()) {
			all = append(all, parse(strings.TrimSuffix(line, "\n")))
		}
		return all
	}
	err := slogtest.TestHandler(NewHandler(&b, nil, nil), results)
	if err == nil {
		return
	}
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		if s := e.Error(); !strings.Contains(s, `missing key "time"`) && !strings.Contains(s, `missing key "level"`) {
			t.Error(e)
		}
	}
}

func parse(line string) map[string]any {
	_, rest, _ := strings.Cut(line, "] ")
	m := map[string]any{}
	for i, f := range strings.Fields(rest) {
		key, value, ok := strings.Cut(f, "=")
		if i == 0 && !ok {
			m[slog.MessageKey] = f
			continue
		}
		at := m
		path := strings.Split(key, ".")
		for _, g := range path[:len(path)-1] {
			if at[g] == nil {
				at[g] = map[string]any{}
			}
			at = at[g].(map[string]any)
		}
		at[path[len(path)-1]] = value
	}
	return m
}

func TestSinceBoot(t *testing.T) {
	a := SinceBoot()
	if b := SinceBoot(); a <= 0 || b < a {
		t.Errorf("%v, then %v", a, b)
	}
}

func TestKmsg(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := OpenKmsg(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write([]byte("one\ntwo " + strings.Repeat("x", 2000) + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "<15>one\n<15>two " + strings.Repeat("x", maxRecord-4) + "\n"; string(got) != want {
		t.Errorf("got %q", got)
	}
}
