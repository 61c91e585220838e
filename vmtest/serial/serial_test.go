package serial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTranscriptText(t *testing.T) {
	for _, test := range []struct{ name, raw, want string }{
		{"lines", "one\r\ntwo\n", "one\ntwo\n"},
		{"colour", "\x1b[0;1miPXE\x1b[0m ok\r\n", "iPXE ok\n"},
		{"twice carriage return", "a\r\r\nb", "a\nb"},
		{"painted over", " 5%\r10%\r\n", " 5%\n10%\n"},
		{"cursor moved", "\x1b[2J\x1b[01;01HSeaBIOS\x1b[02;01HBooting", "SeaBIOS\nBooting"},
		{"backspaces", "Press...\b \b\b \b\b \bed", "Pressed"},
		{"backspace at the start", "ab\n\b\bc", "ab\nc"},
		{"title", "\x1b]0;n01\x1b\\$ \x1b]0;x\a#", "$ #"},
		{"nul and bell", "a\x00b\ac", "abc"},
		{"charset", "\x1b(Bx", "x"},
		{"not a title", "\x1b]oops\nnext", "next"},
	} {
		whole, bytewise := NewTranscript(nil), NewTranscript(nil)
		whole.Write([]byte(test.raw))
		for i := range len(test.raw) {
			bytewise.Write([]byte{test.raw[i]})
		}
		if diff := cmp.Diff(test.want, whole.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(test.want, bytewise.String()); diff != "" {
			t.Errorf("%s, byte by byte (-want +got):\n%s", test.name, diff)
		}
	}
}

func FuzzTranscript(f *testing.F) {
	f.Add([]byte("\x1b[2J\x1b]0;x\a\b\r\n"), 3)
	f.Fuzz(func(t *testing.T, raw []byte, at int) {
		at = min(max(at, 0), len(raw))
		whole, split := NewTranscript(nil), NewTranscript(nil)
		whole.Write(raw)
		split.Write(raw[:at])
		split.Write(raw[at:])
		if whole.String() != split.String() {
			t.Fatalf("%q whole, %q split at %d", whole, split, at)
		}
		if i := strings.IndexFunc(whole.String(), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }); i >= 0 {
			t.Fatalf("control character in %q", whole)
		}
	})
}

func TestLogHasTheTimeOfEachLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time starts at midnight UTC
		var log bytes.Buffer
		tr := NewTranscript(&log)
		tr.Write([]byte("first\r\nsec"))
		time.Sleep(1500 * time.Millisecond)
		tr.Write([]byte("ond\r\nthird"))
		time.Sleep(time.Second)
		tr.End(io.EOF)
		at := func(d time.Duration) string {
			return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d).Local().Format("15:04:05.000")
		}
		want := at(0) + " first\n" + at(0) + " second\n" + at(1500*time.Millisecond) + " third\n"
		if diff := cmp.Diff(want, log.String()); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestExpect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := NewTranscript(nil)
		r := tr.Reader()
		go func() {
			for _, s := range []string{"n01 lo", "gin: root\nn0", "1 login: admin\n", strings.Repeat("x", 3*searchBack), "\nend\n"} {
				time.Sleep(time.Second)
				tr.Write([]byte(s))
			}
			tr.End(errors.New("machine is off"))
		}()
		for _, want := range []string{"root", "admin"} {
			got, err := r.Expect(t.Context(), `n(\d+) login: (\w+)\n`)
			if err != nil || got[1] != "01" || got[2] != want {
				t.Fatalf("got %q, %v, want 01 and %s", got, err, want)
			}
		}
		if _, err := r.Expect(t.Context(), `(?m)^end$`); err != nil {
			t.Error(err)
		}
		_, err := r.Expect(t.Context(), "more")
		if err == nil || !strings.Contains(err.Error(), "machine is off") || !strings.Contains(err.Error(), `"end"`) {
			t.Errorf("after the end: %v, want the reason and the last line", err)
		}
		tr.Resume()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Expect(ctx, "more"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without the text: %v, want a deadline", err)
		}
		if _, err := tr.Reader().Expect(ctx, "login: admin"); err != nil {
			t.Errorf("a reader of its own starts at the beginning: %v", err)
		}
		if _, err := tr.Reader().Expect(ctx, "("); err == nil {
			t.Error("a bad pattern was taken")
		}
	})
}

func TestTranscriptIsBounded(t *testing.T) {
	tr := NewTranscript(nil)
	line := []byte(strings.Repeat("y", 1023) + "\n")
	for range 3 * keep / len(line) {
		tr.Write(line)
	}
	r := tr.ReaderFromHere()
	tr.Write([]byte("the end\n"))
	if n := len(tr.String()); n > 2*keep+len(line) || n < keep {
		t.Errorf("%d bytes held, want %d to %d", n, keep, 2*keep)
	}
	if _, err := r.Expect(t.Context(), "^the end"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"the end"}, tr.Tail(1)); diff != "" {
		t.Errorf("tail (-want +got):\n%s", diff)
	}
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func read(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	if d, ok := r.(net.Conn); ok {
		d.SetReadDeadline(time.Now().Add(10 * time.Second))
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConsole(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := ListenConsole(dir+"/con", dir+"/console.log")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Type("x"); !errors.Is(err, ErrNotConnected) {
		t.Errorf("typing on a machine that is off: %v", err)
	}
	machine := dial(t, dir+"/con")
	io.WriteString(machine, "Welcome\r\nlogin: ")
	if _, err := c.Expect(ctx, "login: "); err != nil {
		t.Fatal(err)
	}
	if err := c.Type("root\n"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, machine, 5); got != "root\n" {
		t.Errorf("machine reads %q", got)
	}

	terminal, viewer := net.Pipe()
	attached := make(chan error, 1)
	go func() { attached <- c.Attach(ctx, viewer) }()
	if got, want := read(t, terminal, 17), "Welcome\r\nlogin:\r\n"; got != want {
		t.Errorf("viewer is shown %q, want %q", got, want)
	}
	io.WriteString(terminal, "ls\r")
	if got := read(t, machine, 3); got != "ls\r" {
		t.Errorf("machine reads %q", got)
	}
	io.WriteString(machine, "\x1b[1mbin\x1b[0m\r\n")
	if got, want := read(t, terminal, 13), "\x1b[1mbin\x1b[0m\r\n"; got != want {
		t.Errorf("viewer is shown %q, want it raw: %q", got, want)
	}
	terminal.Close()
	if err := <-attached; err != nil {
		t.Errorf("Attach: %v", err)
	}

	machine.Close()
	<-c.Drained()
	machine = dial(t, dir+"/con") // on again
	io.WriteString(machine, "again\n")
	if _, err := c.Expect(ctx, "again"); err != nil {
		t.Fatal(err)
	}
	terminal, viewer = net.Pipe()
	go func() { attached <- c.Attach(ctx, viewer) }()
	read(t, terminal, 9)
	go io.Copy(io.Discard, terminal)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-attached; err != nil {
		t.Errorf("Attach when the console is closed: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} login: bin$`).Match(log) {
		t.Errorf("log:\n%s", log)
	}
}

func newCable(t *testing.T) (c *Cable, a, b net.Conn) {
	dir := t.TempDir()
	c, err := ListenCable(dir+"/a", dir+"/b", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	a, b = dial(t, dir+"/a"), dial(t, dir+"/b")
	// Bytes for nobody are lost: wait until both ends are there.
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if c.a.connected() && c.b.connected() {
			return c, a, b
		}
	}
	t.Fatal("the cable's ends did not connect")
	return
}

func (e *end) connected() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conn != nil
}

func TestCable(t *testing.T) {
	c, a, b := newCable(t)
	io.WriteString(a, "ping")
	if got := read(t, b, 4); got != "ping" {
		t.Errorf("b reads %q", got)
	}
	c.SetFromA(Faults{Cut: true})
	io.WriteString(a, "lost")
	io.WriteString(b, "heard") // the other way is whole
	if got := read(t, a, 5); got != "heard" {
		t.Errorf("a reads %q", got)
	}
	b.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := b.Read(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("b reads %d bytes, %v over the cut way", n, err)
	}
	c.SetFromA(Faults{})
	io.WriteString(a, "pong")
	if got := read(t, b, 4); got != "pong" {
		t.Errorf("b reads %q once healed", got)
	}
	c.SetFromA(Faults{Garble: 100})
	io.WriteString(a, "pong")
	got := read(t, b, 4)
	for i := range got {
		if got[i] == "pong"[i] {
			t.Errorf("byte %d of %q is not garbled", i, got)
		}
	}
	c.SetFromA(Faults{Baud: 1200})
	began := time.Now()
	io.WriteString(a, "twenty-four bytes, 200ms")
	read(t, b, 24)
	if took := time.Since(began); took < 180*time.Millisecond {
		t.Errorf("24 bytes at 1200 baud took %v, want 200 ms", took)
	}
	if err := c.SetFromB(Faults{Garble: 101}); err == nil {
		t.Error("garble 101% was taken")
	}
}

func TestGarbleIsDrawnFromTheSeed(t *testing.T) {
	count := func(percent float64) (hit int) {
		b := make([]byte, 10000)
		Faults{Garble: percent}.garble(b, rand.New(rand.NewPCG(1, 0)))
		for _, c := range b {
			if c != 0 {
				hit++
			}
		}
		return hit
	}
	for percent, want := range map[float64]int{0: 0, 5: 503, 100: 10000} {
		if got := count(percent); got != want {
			t.Errorf("garble %v%% spoils %d of 10000, want %d", percent, got, want)
		}
	}
}

func TestPace(t *testing.T) {
	for _, test := range []struct {
		baud, n int
		travel  time.Duration
		portion int
	}{
		{0, 4096, 0, 4096},
		{9600, 960, time.Second, 19},
		{115200, 11520, time.Second, 230},
		{300, 30, time.Second, 1},
	} {
		f := Faults{Baud: test.baud}
		got := fmt.Sprint(f.travel(test.n), f.portion(4096))
		if want := fmt.Sprint(test.travel, test.portion); got != want {
			t.Errorf("%d baud: %s, want %s", test.baud, got, want)
		}
	}
}
