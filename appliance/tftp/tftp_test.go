package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// running is a server on loopback; its events come out of a channel.
type running struct {
	addr   *net.UDPAddr
	events chan Event
	stop   func() error
}

func start(t testing.TB, c Config) running {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := running{events: make(chan Event, 100)}
	s.Event = func(e Event) { r.events <- e }
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{127, 0, 0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	r.addr = conn.LocalAddr().(*net.UDPAddr)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r running) next(t testing.TB) Event {
	t.Helper()
	select {
	case e := <-r.events:
		return e
	case <-time.After(time.Minute):
		t.Fatal("no event in a minute")
		return Event{}
	}
}

var ignoreWhen = cmpopts.IgnoreFields(Event{}, "Time", "Duration", "Client")

func TestOptions(t *testing.T) {
	r := start(t, Config{Files: FromMap(map[string][]byte{"f": random(70_001)})})
	for _, tt := range []struct {
		opts []string
		want []string // in any order
	}{
		{[]string{"tsize", "0"}, []string{"tsize 70001 "}},
		{[]string{"blksize", "1428", "tsize", "0"}, []string{"blksize 1428 ", "tsize 70001 "}},
		{[]string{"blksize", "1428", "windowsize", "16"}, []string{"blksize 1428 "}},
	} {
		c := dial(t)
		c.send(t, r.addr, request(1, "f", append([]string{"octet"}, tt.opts...)...))
		got, from := c.receive(t)
		rest := strings.TrimPrefix(got, "oack ")
		for _, w := range tt.want {
			rest = strings.Replace(rest, w, "", 1)
		}
		if !strings.HasPrefix(got, "oack ") || rest != "" {
			t.Errorf("%q: got %q, want %q", tt.opts, got, tt.want)
		}
		// What PXE firmware does once it knows the size.
		c.send(t, from, []byte("\x00\x05\x00\x08User aborted\x00"))
		if diff := cmp.Diff(Event{Kind: KindProbed, Name: "f"}, r.next(t), ignoreWhen); diff != "" {
			t.Errorf("event: -want +got:\n%s", diff)
		}
	}
}

// TestPaddedOptions sends what makes pin/tftp v3.2.0 panic: an answer longer than the question.
func TestPaddedOptions(t *testing.T) {
	r := start(t, Config{Files: FromMap(map[string][]byte{"f": random(7_000_001)})})
	c := dial(t)
	p := []byte("\x00\x01f\x00\x00tsize\x000\x00blksize\x00")
	p = append(p, bytes.Repeat([]byte("0"), 516-len(p)-3)...)
	c.send(t, r.addr, append(p, "512"...))
	if e := r.next(t); e.Kind != KindFailed || !strings.HasPrefix(e.Detail, "panic: runtime error: index out of range") {
		t.Errorf("event %+v", e)
	}
	c.send(t, r.addr, request(1, "f", "octet", "tsize", "0"))
	for range 2 {
		if got, from := c.receive(t); got == "oack tsize 7000001 " {
			c.send(t, from, []byte("\x00\x05\x00\x00no\x00"))
			return
		}
	}
	t.Error("not served after the panic")
}

// TestSilence: clients that vanish, and those that would stay for ever, are left.
func TestSilence(t *testing.T) {
	r := start(t, Config{Files: FromMap(map[string][]byte{"f": random(100_000)}), Timeout: 20 * time.Millisecond, Retries: 2})
	c := dial(t)
	c.send(t, r.addr, request(1, "f", "octet"))
	e := r.next(t)
	if e.Kind != KindFailed || !strings.Contains(e.Detail, "i/o timeout") {
		t.Errorf("event %+v", e)
	}
	copies := 0
	for range 3 {
		if got, _ := c.receive(t); strings.HasPrefix(got, "data ") {
			copies++
		}
	}
	if copies != 3 {
		t.Errorf("the block was sent %d times, want 3", copies)
	}

	// The pauses of this one are far below the server's timeout.
	r = start(t, Config{Files: FromMap(map[string][]byte{"f": random(100_000)}), Timeout: time.Minute, TransferTime: 150 * time.Millisecond})
	c = dial(t)
	c.send(t, r.addr, request(1, "f", "octet"))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for block := byte(1); ; block++ {
		got, from := c.receive(t)
		if strings.HasPrefix(got, "error ") {
			if got != "error 1 transfer took longer than 150ms" {
				t.Errorf("slow client got %q", got)
			}
			break
		}
		<-tick.C // the pace of this client, not a wait for anything
		c.send(t, from, []byte{0, 4, 0, block})
	}
	if e := r.next(t); e.Kind != KindFailed || e.Detail != "transfer took longer than 150ms" {
		t.Errorf("event %+v", e)
	}
}

func TestTooMany(t *testing.T) {
	r := start(t, Config{Files: FromMap(map[string][]byte{"f": random(1000)}), MaxPerHost: 2, Timeout: time.Minute})
	c := []client{dial(t), dial(t), dial(t)}
	var transfers [2]*net.UDPAddr
	for i := range 2 {
		c[i].send(t, r.addr, request(1, "f", "octet"))
		got, from := c[i].receive(t)
		if !strings.HasPrefix(got, "data ") {
			t.Fatalf("client %d got %q", i, got)
		}
		transfers[i] = from
	}
	c[2].send(t, r.addr, request(1, "f", "octet"))
	if got, _ := c[2].receive(t); got != "error 1 too many transfers, try again" {
		t.Errorf("third client got %q", got)
	}
	if e := r.next(t); e.Kind != KindRefused {
		t.Errorf("event %+v", e)
	}
	for i, to := range transfers { // they break off, and make room
		c[i].send(t, to, []byte("\x00\x05\x00\x00no\x00"))
		if e := r.next(t); e.Kind != KindFailed {
			t.Errorf("event %+v", e)
		}
	}
	c[2].send(t, r.addr, request(1, "f", "octet"))
	got, from := c[2].receive(t)
	if !strings.HasPrefix(got, "data ") {
		t.Errorf("third client got %q afterwards", got)
	}
	c[2].send(t, from, []byte("\x00\x05\x00\x00no\x00")) // the server waits for it
}

// TestStop ends the server in the middle of a transfer.
func TestStop(t *testing.T) {
	r := start(t, Config{Files: FromMap(map[string][]byte{"f": random(100_000)}), Timeout: 50 * time.Millisecond, Retries: 2})
	c := dial(t)
	c.send(t, r.addr, request(1, "f", "octet"))
	c.receive(t)
	if err := r.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	// It had ended before Serve returned.
	select {
	case e := <-r.events:
		if e.Kind != KindFailed {
			t.Errorf("event %+v", e)
		}
	default:
		t.Error("a transfer outlived the server")
	}
}

type broken struct{ File }

func (broken) Read([]byte) (int, error) {
	return 0, errors.New("read /secret/path: input/output error")
}

func TestBrokenFile(t *testing.T) {
	r := start(t, Config{Files: func(name string) (File, error) {
		if name == "unreadable" {
			return broken{inMemory{bytes.NewReader(nil)}}, nil
		}
		return nil, errors.New("open /secret/path: permission denied")
	}})
	for name, why := range map[string]string{
		"unreadable": "read: read /secret/path: input/output error",
		"closed":     "open: open /secret/path: permission denied",
	} {
		c := dial(t)
		c.send(t, r.addr, request(1, name, "octet"))
		if got, _ := c.receive(t); got != "error 1 server error" {
			t.Errorf("%s: client got %q", name, got)
		}
		if diff := cmp.Diff(Event{Kind: KindFailed, Name: name, Detail: why}, r.next(t), ignoreWhen); diff != "" {
			t.Errorf("event: -want +got:\n%s", diff)
		}
	}
}

func TestNew(t *testing.T) {
	_, err := New(Config{Addr: "nowhere", Retries: -1})
	want := "tftp: files: none given\ntftp: limits: want no negative numbers\ntftp: address \"nowhere\": address nowhere: missing port in address"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %v", err, want)
	}
	s, err := New(Config{Files: FromMap(nil)})
	if err != nil {
		t.Fatal(err)
	}
	s.config.Files = nil
	if diff := cmp.Diff(Config{Addr: ":69", Timeout: time.Second, Retries: 5, MaxTransfers: 512, MaxPerHost: 16, TransferTime: 5 * time.Minute}, s.config); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRunTellsWhyNot(t *testing.T) {
	c := dial(t)
	s, err := New(Config{Addr: c.LocalAddr().String(), Files: FromMap(nil)})
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("tftp: listen udp4 %v: bind: address already in use", c.LocalAddr())
	if err := s.Run(t.Context()); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A client that has waited in vain asks again from the same port, as GRUB does after 0.4 s. It gets one answer; after that
// transfer it may ask for the same again.
func TestRepeatedRequest(t *testing.T) {
	opens, slow := make(chan string, 10), make(chan struct{})
	files := FromMap(map[string][]byte{"f": []byte("whole")})
	r := start(t, Config{Files: func(name string) (File, error) {
		opens <- name
		<-slow
		return files(name)
	}})
	whole := func(c client) {
		t.Helper()
		got, from := c.receive(t)
		if got != "data whole" {
			t.Errorf("got %q", got)
		}
		c.send(t, from, []byte{0, 4, 0, 1})
		if e := r.next(t); e.Kind != KindSent {
			t.Errorf("event %+v", e)
		}
	}
	impatient, other := dial(t), dial(t)
	for range 3 {
		impatient.send(t, r.addr, request(1, "f", "octet"))
	}
	<-opens
	other.send(t, r.addr, request(1, "f", "octet")) // read after the repetitions
	<-opens
	close(slow)
	whole(impatient)
	whole(other)
	impatient.send(t, r.addr, request(1, "f", "octet"))
	whole(impatient)
	if n := len(opens); n != 1 {
		t.Errorf("%d more requests led to a file, want the last", n)
	}
}
