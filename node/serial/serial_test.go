package serial

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWord(t *testing.T) {
	w := Word{Hello, "0123456789abcdef", "head1", "/dev/ttyS1"}
	line := w.String()
	if want := "masthead-serial hello 0123456789abcdef head1 /dev/ttyS1 4957ea39"; line != want {
		t.Errorf("sent as %q, want %q", line, want)
	}
	for name, tt := range map[string]struct {
		line string
		ok   bool
	}{
		"as sent":             {line, true},
		"with the line's end": {line + "\r\n", true},
		"after noise":         {"\x00\xffmasthead-se" + line, true},
		"changed":             {strings.Replace(line, "head1", "head2", 1), false},
		"cut off":             {line[:len(line)-1], false},
		"of another kind":     {strings.Replace(line, "hello", "howdy", 1), false},
		"a login prompt":      {"head1 login:", false},
		"nothing":             {"", false},
	} {
		got, ok := ParseWord(tt.line)
		if ok != tt.ok || ok && got != w {
			t.Errorf("%s: %+v, %t", name, got, ok)
		}
	}
}

func TestLines(t *testing.T) {
	var got []string
	var l lines
	in := iotest.OneByteReader(strings.NewReader("one\r\n\r\ntwo\n" + strings.Repeat("x", 5*maxWord) + "\nthree\npart"))
	b := make([]byte, 3)
	for {
		n, err := in.Read(b)
		l.feed(b[:n], func(s string) { got = append(got, s[:min(len(s), 5)]) })
		if err != nil {
			break
		}
	}
	if d := cmp.Diff([]string{"one", "two", "xxxxx", "three"}, got); d != "" {
		t.Error(d)
	}
}

// What is parsed is what was sent, whatever came over the line.
func FuzzParseWord(f *testing.F) {
	f.Add(Word{Heard, "n", "h", "/dev/ttyUSB0"}.String())
	f.Add("masthead-serial hello a b c 00000000")
	f.Fuzz(func(t *testing.T, line string) {
		w, ok := ParseWord(line)
		if !ok {
			return
		}
		if again, ok := ParseWord(w.String()); !ok || again != w {
			t.Errorf("%q became %+v, and then %+v", line, w, again)
		}
	})
}

// ptyPair is a cable: what is written to one of the devices is read from the other. Two pseudo-terminals (pty(7)) are tied
// together by their masters. cut ends the flow from the first to the second.
func ptyPair(t *testing.T) (first, second string, cut func()) {
	t.Helper()
	open := func() (*os.File, string) {
		m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := m.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if e := raw.Control(func(fd uintptr) {
			if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
				n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			}
		}); e != nil || err != nil {
			t.Fatal(e, err)
		}
		device := fmt.Sprintf("/dev/pts/%d", n)
		// Kept open: a master whose slave nobody has open gives an error.
		keep, err := Open(device, DefaultBaud)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { keep.Close() })
		return m, device
	}
	a, first := open()
	b, second := open()
	var mu sync.Mutex
	isCut := false
	var flows sync.WaitGroup
	flow := func(from, to *os.File, lost func() bool) {
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if !lost() {
				_, _ = to.Write(buf[:n]) // closed at the end of the test
			}
		}
	}
	flows.Go(func() { flow(a, b, func() bool { mu.Lock(); defer mu.Unlock(); return isCut }) })
	flows.Go(func() { flow(b, a, func() bool { return false }) })
	t.Cleanup(func() { a.Close(); b.Close(); flows.Wait() })
	return first, second, func() { mu.Lock(); defer mu.Unlock(); isCut = true }
}

// heard runs both ends of a test until each of the wanted lines was heard, or time is up, and gives all that were.
func heard(t *testing.T, here, there []string, want int) map[string]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var mu sync.Mutex
	got := map[string]bool{}
	note := func(host string) func(string, Word) {
		return func(port string, w Word) {
			mu.Lock()
			defer mu.Unlock()
			got[fmt.Sprintf("%s %s: %s from %s %s", host, port, w.Kind, w.Host, w.Port)] = true
			if len(got) == want {
				cancel()
			}
		}
	}
	var both sync.WaitGroup
	for _, end := range []*Test{
		{Host: "head1", Nonce: "n", Ports: here, Baud: DefaultBaud, Heard: note("head1")},
		{Host: "head2", Nonce: "n", Ports: there, Baud: DefaultBaud, Heard: note("head2")},
	} {
		both.Go(func() {
			if err := end.Run(ctx, true); err != nil {
				t.Errorf("%s: %v", end.Host, err)
			}
		})
	}
	both.Wait()
	return got
}

func TestCable(t *testing.T) {
	a, b, _ := ptyPair(t)
	loose, other, _ := ptyPair(t)
	_ = other
	got := heard(t, []string{loose, a}, []string{b}, 4)
	want := map[string]bool{
		"head1 " + a + ": hello from head2 " + b: true, "head1 " + a + ": heard from head2 " + b: true,
		"head2 " + b + ": hello from head1 " + a: true, "head2 " + b + ": heard from head1 " + a: true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// A wire that is broken in one direction is seen by who hears.
func TestOneWire(t *testing.T) {
	a, b, cut := ptyPair(t)
	cut()
	got := heard(t, []string{a}, []string{b}, 1)
	if d := cmp.Diff(map[string]bool{"head1 " + a + ": hello from head2 " + b: true}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestNoPort(t *testing.T) {
	test := Test{Host: "h", Nonce: "n", Ports: []string{"/dev/no-such-port"}, Baud: DefaultBaud, Heard: func(string, Word) {}}
	if err := test.Run(t.Context(), true); err == nil || !strings.Contains(err.Error(), "no-such-port") {
		t.Errorf("got %v", err)
	}
	if _, err := Open("/dev/null", 5); err == nil || !strings.Contains(err.Error(), "baud") {
		t.Errorf("got %v", err)
	}
}

func TestPorts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, kind := range map[string]string{"ttyS0": "4", "ttyS1": "4", "ttyS2": "0", "ttyS3": "4"} {
		write("sys/class/tty/"+name+"/type", kind+"\n")
	}
	write("sys/class/tty/ttyUSB0/dev", "188:0\n")
	write("sys/class/tty/tty1/dev", "4:1\n")
	write("proc/consoles", "tty0                 -WU (EC p  )    4:1\nttyS0                -W- (E  p a)    4:64\n")
	write("proc/77/comm", "agetty\n")
	if err := os.MkdirAll(filepath.Join(dir, "proc/77/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/ttyS3", filepath.Join(dir, "proc/77/fd/0")); err != nil {
		t.Fatal(err)
	}
	got, err := Ports(filepath.Join(dir, "sys"), filepath.Join(dir, "proc"), "/dev")
	want := []Port{{"/dev/ttyS0", "the kernel's console"}, {"/dev/ttyS1", ""}, {"/dev/ttyS3", "open in agetty (77)"}, {"/dev/ttyUSB0", ""}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}
