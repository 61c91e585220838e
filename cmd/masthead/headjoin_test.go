package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

func TestJoinTokenComesFromAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" mhj_abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &app{in: strings.NewReader("mhj_def\n"), err: &bytes.Buffer{}}
	for from, want := range map[string]string{file: "mhj_abc", "-": "mhj_def"} {
		if got, err := a.joinToken(from); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", from, got, err, want)
		}
	}
	for _, from := range []string{"", filepath.Join(t.TempDir(), "none")} {
		got, err := a.joinToken(from)
		var out bytes.Buffer
		if code := report(&out, err); code != exitFailed || got != "" || !strings.Contains(out.String(), "try: ") || !strings.Contains(out.String(), "masthead head token") {
			t.Errorf("%q: %q, says %q", from, got, out.String())
		}
	}
}

// What follows the answer is left for whoever reads next.
func TestAskLine(t *testing.T) {
	in := strings.NewReader(" head1 \nmore\nlast")
	var prompt bytes.Buffer
	a := &app{in: in, err: &prompt}
	for _, want := range []string{"head1", "more", "last", ""} {
		if got, err := a.askLine("name? "); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if prompt.String() != strings.Repeat("name? ", 4) {
		t.Errorf("prompts %q", prompt.String())
	}
	a.in = strings.NewReader(strings.Repeat("x", maxToken+1))
	if got, err := a.askLine(""); err == nil {
		t.Errorf("an endless line gives %d bytes", len(got))
	}
}

func TestStepLine(t *testing.T) {
	var out bytes.Buffer
	s := stepLine{out: &out}
	for _, text := range []string{"a", "a", "b"} {
		s.say(text)
	}
	s.end()
	if got := out.String(); got != "a\nb\n" {
		t.Errorf("%q", got)
	}
	out.Reset()
	s = stepLine{out: &out, tty: true}
	s.say("a")
	s.end()
	if got := out.String(); got != "\r\033[Ka\r\033[K" {
		t.Errorf("%q", got)
	}
}

func TestPrintHeads(t *testing.T) {
	heads := []wire.HeadStatus{
		{Name: "head1", Self: true, Alive: true, Equal: true, Nodes: 3, Root: strings.Repeat("a", 64),
			HeadRecord: wire.HeadRecord{Address: netip.MustParseAddr("10.77.0.1"), Key: images.DigestOf(nil), Version: "v1", Joined: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}},
		{Name: "head2", Equal: true, Reason: "no answer", HeadRecord: wire.HeadRecord{Address: netip.MustParseAddr("10.77.0.2")}},
		{Name: "head3", Alive: true},
	}
	for _, long := range []bool{false, true} {
		var out bytes.Buffer
		if err := (&app{out: &out}).printHeads(heads, long); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		for i, want := range [][]string{{"NAME", "NOTE"}, {"head1 *", "10.77.0.1", "yes", "same", "3"}, {"head2", "no ", "?", "no answer"}, {"head3", "yes", "differs"}} {
			for _, w := range want {
				if !strings.Contains(lines[i], w) {
					t.Errorf("long %t, line %d: %q lacks %q", long, i, lines[i], w)
				}
			}
		}
		if long != strings.Contains(out.String(), "v1") {
			t.Errorf("long %t: %s", long, out.String())
		}
	}
}
