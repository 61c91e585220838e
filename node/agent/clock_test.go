package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"masthead/node/wire"
)

func TestClockDecide(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		mind clockMind
		s    sample
		want clockDeed
		then clockMind
	}{
		{"right", clockMind{}, sample{offset: ms / 2, way: ms}, clockLeave, clockMind{settled: true}},
		{"within the way's doubt", clockMind{}, sample{offset: -40 * ms, way: 100 * ms}, clockLeave, clockMind{settled: true}},
		{"a little late", clockMind{}, sample{offset: 20 * ms, way: ms}, clockSlew, clockMind{settled: true}},
		{"a little early", clockMind{settled: true}, sample{offset: -499 * ms, way: ms}, clockSlew, clockMind{settled: true}},
		{"no clock at the start", clockMind{}, sample{offset: 50 * 365 * 24 * time.Hour, way: ms}, clockStep, clockMind{settled: true}},
		{"half a second at the start", clockMind{}, sample{offset: -500 * ms, way: ms}, clockStep, clockMind{settled: true}},
		{"a jump later", clockMind{settled: true}, sample{offset: 3600_000 * ms, way: ms}, clockLookAgain, clockMind{settled: true, suspect: 3600_000 * ms}},
		{"the same jump again", clockMind{settled: true, suspect: 3600_000 * ms}, sample{offset: 3600_002 * ms, way: ms}, clockStep, clockMind{settled: true}},
		{"another jump", clockMind{settled: true, suspect: 3600_000 * ms}, sample{offset: -9000 * ms, way: ms}, clockLookAgain, clockMind{settled: true, suspect: -9000 * ms}},
		{"the jump was a mistake", clockMind{settled: true, suspect: 3600_000 * ms}, sample{offset: 0, way: ms}, clockLeave, clockMind{settled: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, then := tt.mind.decide(tt.s)
			if got != tt.want || then != tt.then {
				t.Errorf("got %v, then %+v; want %v, then %+v", got, then, tt.want, tt.then)
			}
		})
	}
}

// TestClockProperty shows that a clock that was right is never stepped for one sample, and that no sample is made worse.
func TestClockProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mind := clockMind{}
		settled := false
		last := time.Duration(0)
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			s := sample{
				offset: time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "offset")),
				way:    time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "way")),
			}
			var deed clockDeed
			deed, mind = mind.decide(s)
			if deed == clockStep && settled && (last-s.offset).Abs() >= stepAbove {
				t.Fatalf("stepped by %v after one look", s.offset)
			}
			if (deed == clockStep || deed == clockSlew) && s.offset.Abs() <= s.way/2 {
				t.Fatalf("%v changed though it may be 0", s)
			}
			settled, last = true, s.offset
			if deed != clockLookAgain {
				last = 0
			}
		}
	})
}

func TestClockKeeper(t *testing.T) {
	for _, tt := range []struct {
		status    int32
		processes []string
		alone     bool
	}{
		{unix.STA_UNSYNC, []string{"systemd", "sshd"}, true},
		{unix.STA_UNSYNC, []string{"systemd", "chronyd"}, false},
		{unix.STA_UNSYNC, []string{"systemd-timesyn"}, false},
		{unix.STA_PLL, nil, false},
	} {
		if got := clockKeeper(tt.status, tt.processes); (got == "") != tt.alone {
			t.Errorf("%#x %q: %q, want nobody: %v", tt.status, tt.processes, got, tt.alone)
		}
	}
}

// world is a machine whose clock is wrong, and its heads.
type world struct {
	clock
	mu       sync.Mutex      // over what follows
	offset   time.Duration   // of the heads' clocks from ours
	dead     map[string]bool // heads that do not answer
	asked    []string
	slewed   []time.Duration
	stepped  []time.Duration
	keeper   string
	slowly   error
	forceWay []time.Duration
}

func newWorld() *world {
	w := &world{dead: map[string]bool{}}
	w.clock = clock{
		heads: func() []string { return []string{"a", "b"} },
		ask: func(_ context.Context, head string) (sample, error) {
			w.asked = append(w.asked, head)
			if w.dead[head] {
				return sample{}, errors.New("silent")
			}
			way := time.Millisecond
			if len(w.forceWay) > 0 {
				way, w.forceWay = w.forceWay[0], w.forceWay[1:]
			}
			return sample{w.offset + (way-time.Millisecond)/2, way}, nil // all the delay on one side
		},
		other: func() string { return w.keeper },
		slew:  func(d time.Duration) error { w.slewed = append(w.slewed, d); w.offset -= d; return w.slowly },
		step:  func(d time.Duration) error { w.stepped = append(w.stepped, d); w.offset -= d; return w.slowly },
		log:   slog.New(slog.DiscardHandler),
	}
	// The world stands still but while the clock waits: that is when a test may change it.
	w.clock.wait = func(ctx context.Context, d time.Duration) error {
		w.mu.Unlock()
		defer w.mu.Lock()
		return waitFor(ctx, d)
	}
	return w
}

// live runs the clock for a time of its own, with what happens on the way.
func (w *world) live(t *testing.T, happens ...func()) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			done <- w.run(ctx)
		}()
		for _, happen := range append(happens, func() {}) {
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			w.mu.Lock()
			happen()
			w.mu.Unlock()
		}
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run = %v", err)
		}
	})
}

func TestClockRun(t *testing.T) {
	t.Run("start, drift, a jump", func(t *testing.T) {
		w := newWorld()
		w.offset = time.Hour
		w.live(t, func() { w.offset = 30 * time.Millisecond }, func() { w.offset = -7 * time.Second })
		if diff := cmp.Diff([]time.Duration{time.Hour, -7 * time.Second}, w.stepped); diff != "" {
			t.Errorf("steps: -want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]time.Duration{30 * time.Millisecond}, w.slewed); diff != "" {
			t.Errorf("slews: -want +got:\n%s", diff)
		}
	})
	t.Run("the first head is dead", func(t *testing.T) {
		w := newWorld()
		w.dead["a"], w.offset = true, time.Hour
		w.live(t)
		if len(w.stepped) != 1 || w.asked[0] != "a" || w.asked[1] != "b" {
			t.Errorf("steps %v, asked %v", w.stepped, w.asked)
		}
	})
	t.Run("all are dead for a while", func(t *testing.T) {
		w := newWorld()
		w.dead["a"], w.dead["b"], w.offset = true, true, time.Hour
		w.live(t, func() { w.dead = nil })
		if len(w.stepped) != 1 {
			t.Errorf("steps %v", w.stepped)
		}
	})
	t.Run("the quickest answer counts", func(t *testing.T) {
		w := newWorld()
		w.offset = time.Hour
		w.forceWay = []time.Duration{9 * time.Second, time.Millisecond, time.Second}
		w.live(t)
		if len(w.stepped) != 1 || w.stepped[0] != time.Hour {
			t.Errorf("steps %v, want one of an hour", w.stepped)
		}
	})
	t.Run("another keeper", func(t *testing.T) {
		w := newWorld()
		w.keeper, w.offset = "chronyd", time.Hour
		w.live(t)
		if len(w.asked)+len(w.stepped) != 0 {
			t.Errorf("asked %v, stepped %v", w.asked, w.stepped)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		w := newWorld()
		w.offset, w.slowly = time.Hour, unix.EPERM
		w.live(t)
		if len(w.stepped) != 1 {
			t.Errorf("steps %v, want one try", w.stepped)
		}
	})
}

// TestAskTime asks a server that has just what SNTP wants, seven seconds ahead of us.
func TestAskTime(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buffer := make([]byte, 100); ; {
			n, from, err := conn.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			if n != 48 {
				continue
			}
			answer := make([]byte, 48)
			answer[0], answer[1] = 4<<3|4, 10
			copy(answer[24:], buffer[40:48])
			now := time.Now().Add(7 * time.Second)
			seconds, fraction := uint32(now.Unix()+2208988800), uint32(uint64(now.Nanosecond())<<32/1e9)
			for _, at := range []int{16, 32, 40} {
				for i := range 4 {
					answer[at+i], answer[at+4+i] = byte(seconds>>(24-8*i)), byte(fraction>>(24-8*i))
				}
			}
			conn.WriteToUDP(answer, from)
		}
	}()
	s, err := askTime(t.Context(), conn.LocalAddr().String())
	if err != nil || (s.offset-7*time.Second).Abs() > 200*time.Millisecond || s.way > time.Second {
		t.Errorf("got %+v, %v; want 7 s", s, err)
	}
	conn.Close()
	<-done
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := askTime(ctx, "127.0.0.1:9"); err == nil {
		t.Error("an answer after the end")
	}
}

func TestTimeDaemonFiles(t *testing.T) {
	heads := headHosts([]wire.Head{{URL: "https://10.77.0.1"}, {URL: "https://[fd00::1]:8443"}, {URL: "/run/masthead/api.sock"}})
	run := t.TempDir()
	for range 2 {
		if err := tellTimeDaemons(run, heads); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{
		"systemd/timesyncd.conf.d/masthead.conf": "[Time]\nNTP=10.77.0.1 fd00::1\n",
		"chrony-dhcp/masthead.sources":           "server 10.77.0.1 iburst\nserver fd00::1 iburst\n",
	} {
		got, err := os.ReadFile(filepath.Join(run, file))
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v, -want +got:\n%s", file, err, diff)
		}
	}
	if err := tellTimeDaemons(filepath.Join(run, "none"), nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(run, "none")); err == nil {
		t.Error("files without heads")
	}
}
