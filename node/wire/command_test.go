package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestFrames(t *testing.T) {
	all := []Frame{
		{Kind: FrameAttach, MAC: "52:54:00:77:00:0a", Boot: "b", List: HeadList(nil)},
		{Kind: FrameRun, ID: "1", Command: &Command{Kind: CommandExec, Argv: []string{"cat", "\x00é"}, Timeout: 1.5, Output: 9}, Inline: []byte{0, 255}},
		{Kind: FrameOutput, ID: "1", Stdout: bytes.Repeat([]byte{0xff}, 1000)},
		{Kind: FrameExit, ID: "1", Result: &CommandResult{Exit: 3}},
	}
	var b bytes.Buffer
	for _, f := range all {
		if err := WriteFrame(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	whole := b.Bytes()
	for _, want := range all {
		got, err := ReadFrame(&b, MaxMachineFrame)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
	}
	if _, err := ReadFrame(&b, MaxMachineFrame); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, err := ReadFrame(bytes.NewReader(whole[:20]), MaxMachineFrame); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a frame: %v", err)
	}
	if _, err := ReadFrame(bytes.NewReader(whole), 10); err == nil || !strings.Contains(err.Error(), "at most 10") {
		t.Errorf("a frame that is too large: %v", err)
	}
	if WriteFrame(&b, Frame{Kind: FrameOutput, Stdout: make([]byte, 32<<10)}) != nil || b.Len() > MaxMachineFrame {
		t.Errorf("a chunk of output is a frame of %d bytes", b.Len())
	}
}

// Whatever a machine sends, a head reads at most the limit of it, and does not fall over.
func FuzzReadFrame(f *testing.F) {
	var b bytes.Buffer
	_ = WriteFrame(&b, Frame{Kind: FramePing, List: "x"})
	f.Add(b.Bytes())
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<31))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := ReadFrame(bytes.NewReader(data), 1<<16)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WriteFrame(&again, frame); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFrame(&again, 1<<24)
		if d := cmp.Diff(frame, got, cmpopts.EquateEmpty()); err != nil || d != "" {
			t.Fatalf("%v\n%s", err, d)
		}
	})
}

func TestCommandValidate(t *testing.T) {
	ok := func(c Command) Command { c.Timeout, c.Output = 30, 1; return c }
	for _, tc := range []struct {
		name string
		c    Command
		want string // part of the error; empty: none
	}{
		{"argv", ok(Command{Kind: CommandExec, Argv: []string{"true"}}), ""},
		{"shell", ok(Command{Kind: CommandExec, Shell: "true"}), ""},
		{"script with arguments", ok(Command{Kind: CommandExec, Script: "true", Argv: []string{"a"}}), ""},
		{"copy", ok(Command{Kind: CommandCopy, Dest: "/etc"}), ""},
		{"task", ok(Command{Kind: CommandTask, Task: TaskFetchHosts}), ""},
		{"nothing to run", ok(Command{Kind: CommandExec}), "want one of"},
		{"two things to run", ok(Command{Kind: CommandExec, Argv: []string{"a"}, Shell: "b"}), "want one of"},
		{"relative", ok(Command{Kind: CommandCopy, Dest: "etc"}), "absolute"},
		{"no destination", ok(Command{Kind: CommandCopy}), "absolute"},
		{"unknown task", ok(Command{Kind: CommandTask, Task: "frob"}), "fetch-hosts or update-keys"},
		{"unknown kind", ok(Command{Kind: "frob"}), "want exec, copy or task"},
		{"long script", ok(Command{Kind: CommandExec, Script: strings.Repeat("x", MaxScript+1)}), "at most"},
		{"no timeout", Command{Kind: CommandExec, Shell: "true", Output: 1}, "timeout"},
		{"too long", Command{Kind: CommandExec, Shell: "true", Output: 1, Timeout: 1e9}, "timeout"},
		{"no output", Command{Kind: CommandExec, Shell: "true", Timeout: 1}, "output"},
	} {
		err := tc.c.Validate()
		if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestReadEvents(t *testing.T) {
	plan, done := `{"plan":{"nodes":["a","b"],"heads":{}}}`+"\n", `{"node":"a","done":{"exit":0,"took":0}}`+"\n"
	for _, tc := range []struct {
		name, text string
		want       error
		events     int
	}{
		{"all done", plan + done + done, nil, 3},
		{"one is missing", plan + done, ErrCut, 2},
		{"nothing", "", ErrCut, 0},
		{"dry run", `{"plan":{"nodes":["a","b"],"heads":{},"dry_run":true}}`, nil, 1},
	} {
		n := 0
		err := ReadEvents(strings.NewReader(tc.text), func(CommandEvent) error { n++; return nil })
		if !errors.Is(err, tc.want) || n != tc.events {
			t.Errorf("%s: %v, %d events; want %v, %d", tc.name, err, n, tc.want, tc.events)
		}
	}
	stop := errors.New("stop")
	if err := ReadEvents(strings.NewReader(plan+done), func(CommandEvent) error { return stop }); err != stop {
		t.Errorf("got %v", err)
	}
}
