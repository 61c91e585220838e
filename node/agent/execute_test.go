package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/node/wire"
)

// sink is a head that takes output.
type sink struct {
	mu       sync.Mutex
	out, err bytes.Buffer
	frames   int
	outlet   *outlet
	hold     bool // it grants nothing
}

func newSink(most int64) *sink {
	s := &sink{}
	s.outlet = newOutlet("id", most, func(f wire.Frame) error {
		s.mu.Lock()
		s.out.Write(f.Stdout)
		s.err.Write(f.Stderr)
		s.frames++
		hold := s.hold
		s.mu.Unlock()
		if !hold {
			s.outlet.grant(f.Cost())
		}
		return nil
	})
	return s
}

// sh runs a shell line.
func sh(line string, input io.Reader, s *sink, timeout time.Duration) wire.CommandResult {
	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, errors.New("too late"))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(killGrace, s.outlet.close) })()
	return execute(ctx, wire.Command{Kind: wire.CommandExec, Shell: line}, input, s.outlet, os.TempDir())
}

func TestExecute(t *testing.T) {
	for _, tc := range []struct {
		name      string
		command   wire.Command
		input     string
		out, err  string
		exit      int
		errorText string
	}{
		{"shell", wire.Command{Shell: "echo a; echo b >&2; exit 3"}, "", "a\n", "b\n", 3, ""},
		{"no shell touches arguments", wire.Command{Argv: []string{"echo", "$HOME", "a  b"}}, "", "$HOME a  b\n", "", 0, ""},
		{"input", wire.Command{Argv: []string{"cat"}}, strings.Repeat("x", 300<<10), strings.Repeat("x", 300<<10), "", 0, ""},
		{"input that nobody reads", wire.Command{Argv: []string{"true"}}, strings.Repeat("x", 300<<10), "", "", 0, ""},
		{"no input is the end of it", wire.Command{Argv: []string{"cat"}}, "", "", "", 0, ""},
		{"script of the shell", wire.Command{Script: "echo $1 $#", Argv: []string{"a", "b"}}, "", "a 2\n", "", 0, ""},
		{"script with its own interpreter", wire.Command{Script: "#!/bin/cat\nhello\n"}, "", "#!/bin/cat\nhello\n", "", 0, ""},
		{"script reads the input", wire.Command{Script: "cat"}, "in", "in", "", 0, ""},
		{"environment", wire.Command{Shell: "echo $A $HOME $SHELL", Env: []string{"A=1"}}, "", "1 /root /bin/sh\n", "", 0, ""},
		{"no such program", wire.Command{Argv: []string{"frob-nicate"}}, "", "", "", 127, "frob-nicate: not found in /usr/local/sbin:"},
		{"a folder is no program", wire.Command{Argv: []string{"/etc"}}, "", "", "", 127, "permission denied"},
		{"signal", wire.Command{Shell: "kill -9 $$"}, "", "", "", 137, "ended by a signal: killed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSink(1 << 30)
			var input io.Reader
			if tc.input != "" {
				input = strings.NewReader(tc.input)
			}
			r := execute(t.Context(), tc.command, input, s.outlet, t.TempDir())
			if r.Exit != tc.exit || !strings.Contains(r.Error, tc.errorText) || (tc.errorText == "") != (r.Error == "") {
				t.Errorf("exit %d, %q; want %d, %q", r.Exit, r.Error, tc.exit, tc.errorText)
			}
			if d := cmp.Diff([]string{tc.out, tc.err}, []string{s.out.String(), s.err.String()}); d != "" {
				t.Errorf("output (-want +got):\n%.500s", d)
			}
		})
	}
}

// All that a command has begun goes with it when its time is up, also what ignores SIGTERM.
func TestTimeoutKillsTheGroup(t *testing.T) {
	s := newSink(1 << 20)
	began := time.Now()
	r := sh("trap '' TERM; sleep 60 & echo $!; wait; sleep 60", nil, s, 200*time.Millisecond)
	if r.Error != "too late" || time.Since(began) > 10*time.Second {
		t.Errorf("%+v after %v", r, time.Since(began))
	}
	until(t, "the process in the background is dead", func() bool {
		data, err := os.ReadFile("/proc/" + strings.TrimSpace(s.out.String()) + "/stat")
		return err != nil || strings.Contains(string(data), ") Z ")
	})
}

// What goes on in the background does not hold the answer up, though it has the output open; and what was said counts.
func TestBackgroundProcess(t *testing.T) {
	s := newSink(1 << 20)
	began := time.Now()
	r := sh("echo begun; sleep 5 & exit 0", nil, s, time.Minute)
	if r.Failed() || s.out.String() != "begun\n" || time.Since(began) > 4*time.Second {
		t.Errorf("%+v, %q after %v", r, s.out.String(), time.Since(began))
	}
}

// A head that takes nothing makes the command wait; once it goes, the command goes on, and all its output is read.
func TestOutletWaitsForRoom(t *testing.T) {
	s := newSink(1 << 30)
	s.hold = true
	done := make(chan wire.CommandResult)
	go func() { done <- sh("head -c 2000000 /dev/zero; echo end >&2", nil, s, time.Minute) }()
	for { // until the window is full
		s.outlet.mu.Lock()
		full := s.outlet.window < outletChunk+1000
		s.outlet.mu.Unlock()
		if full {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case r := <-done:
		t.Fatalf("it did not wait: %+v", r)
	default:
	}
	s.outlet.close()
	if r := <-done; r.Failed() || s.out.Len() > wire.CommandWindow {
		t.Errorf("%+v, %d bytes", r, s.out.Len())
	}
}

func TestOutputIsBounded(t *testing.T) {
	s := newSink(100_000)
	if r := sh("head -c 1000000 /dev/zero", nil, s, time.Minute); r.Failed() || s.out.Len() != 100_000 || !s.outlet.truncated() {
		t.Errorf("%+v, %d bytes, truncated %v", r, s.out.Len(), s.outlet.truncated())
	}
	s = newSink(5)
	if r := sh("printf 12345", nil, s, time.Minute); r.Failed() || s.out.String() != "12345" || s.outlet.truncated() {
		t.Errorf("%+v, %q, truncated %v", r, s.out.String(), s.outlet.truncated())
	}
}

func TestEnvironmentFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "environment")
	if err := os.WriteFile(file, []byte("# a comment=1\nA=1\nexport B=\"two words\"\n\nbroken\nPATH='/x'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := environment(file, []string{"A=9"})
	if d := cmp.Diff([]string{"A=1", "B=two words", "PATH=/x", "A=9"}, env[5:]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := find("sh", env); err == nil || !strings.Contains(err.Error(), "not found in /x") {
		t.Errorf("the later PATH counts: %v", err)
	}
}

func archiveOf(t *testing.T, headers ...*tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := []byte("content of " + h.Name)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write(content)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestUnpack(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "deep", "dest")
	when := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	in := archiveOf(t,
		&tar.Header{Typeflag: tar.TypeDir, Name: ".", Mode: 0o750},
		&tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o4755, ModTime: when},
		&tar.Header{Typeflag: tar.TypeReg, Name: "sub/b", Mode: 0o600, ModTime: when},
		&tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "a"})
	got, err := unpack(t.Context(), in, dest)
	if err != nil || got.String() != "copied 2 files, 28 bytes, 1 folder, 1 link" {
		t.Fatalf("%v, %v", got, err)
	}
	for name, want := range map[string]fs.FileMode{".": fs.ModeDir | 0o750, "a": fs.ModeSetuid | 0o755, "sub/b": 0o600, "link": fs.ModeSymlink | 0o777} {
		st, err := os.Lstat(filepath.Join(dest, name))
		if err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, st, err, want)
		} else if st.Mode().IsRegular() && !st.ModTime().Equal(when) {
			t.Errorf("%s: time %v", name, st.ModTime())
		}
	}
	// Again, over what is there: a link at the place of a file is replaced, not followed.
	if err := errors.Join(os.Remove(filepath.Join(dest, "sub/b")), os.Symlink("/dev/full", filepath.Join(dest, "sub/b"))); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(t.Context(), archiveOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: "sub/b", Mode: 0o644}), dest); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dest, "sub/b")); string(data) != "content of sub/b" {
		t.Errorf("%q, %v", data, err)
	}
	if err := os.Mkdir(filepath.Join(dest, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []*tar.Header{
		{Typeflag: tar.TypeReg, Name: "../x"}, {Typeflag: tar.TypeReg, Name: "/x"}, {Typeflag: tar.TypeFifo, Name: "f"},
		{Typeflag: tar.TypeReg, Name: "folder"}, {Typeflag: tar.TypeReg, Name: "a/x"},
	} {
		if _, err := unpack(t.Context(), archiveOf(t, bad), dest); err == nil {
			t.Errorf("%s was taken", bad.Name)
		}
	}
}

// A copy that breaks off leaves the file as it was, and nothing beside it.
func TestBrokenCopyChangesNothing(t *testing.T) {
	dest := t.TempDir()
	if err := os.WriteFile(filepath.Join(dest, "a"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	whole, _ := io.ReadAll(archiveOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: "a", Mode: 0o644}))
	for _, n := range []int{512 + 3, 300} {
		if _, err := unpack(t.Context(), bytes.NewReader(whole[:n]), dest); err == nil {
			t.Errorf("%d bytes of an archive were taken for all", n)
		}
	}
	list, _ := os.ReadDir(dest)
	if len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

// writeTar writes an archive of one file.
func writeTar(t *testing.T, to io.Writer, name string, size int64) {
	t.Helper()
	w := tar.NewWriter(to)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
	if err == nil {
		_, err = w.Write(make([]byte, size))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}
