package heartbeat

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sender is the thread that sends. It waits for an absolute time of a timerfd, and not for a timer of Go's scheduler, which
// a long run of other goroutines can delay.
//
// The wait is one of Go's network poller. A system call that blocks would have the runtime's monitor look 50 times within
// a millisecond whether to take the processor away from it, twenty times a second: on a slow machine more than all the rest
// of a heartbeat (runtime/proc.go sysmon, retake).
type sender struct {
	h     *Heartbeat
	timer *os.File // a timerfd
	due   []time.Duration

	mu    sync.Mutex
	woken bool // something is to be sent out of turn, or ctx has ended; the timer has run out
}

func newSender(h *Heartbeat) (*sender, error) {
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	return &sender{h: h, timer: os.NewFile(uintptr(timer), "timerfd"), due: make([]time.Duration, len(h.links))}, nil
}

// wake makes the thread send on all links now. It does not block.
func (s *sender) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = true
	_ = s.set(1) // long ago; after close there is nobody to be woken
}

func (s *sender) close() { s.timer.Close() }

// set has the timer run out at a time of the monotonic clock.
func (s *sender) set(at time.Duration) error {
	raw, err := s.timer.SyscallConn()
	if err != nil {
		return err
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &spec, nil) }); err != nil {
		return err
	}
	return failed
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := context.AfterFunc(ctx, s.wake)
	defer stop()
	now, err := monotonic()
	if err != nil {
		return err
	}
	for i := range s.due {
		s.due[i] = now
	}
	woken := false
	for ctx.Err() == nil {
		if now, err = monotonic(); err != nil {
			return err
		}
		s.h.send(s.turn(now, woken))
		if woken, err = s.wait(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// turn gives the links to send on now, and moves their turns. A turn that was missed is not made up for: the machine
// was stopped meanwhile, and a burst helps nobody.
func (s *sender) turn(now time.Duration, all bool) []*link {
	var out []*link
	for i, l := range s.h.links {
		if s.due[i] > now {
			if all {
				out = append(out, l)
			}
			continue
		}
		out = append(out, l)
		if s.due[i] += l.interval; s.due[i] <= now {
			s.due[i] = now + l.interval
		}
	}
	return out
}

// wait blocks until the next turn, or until it is woken.
func (s *sender) wait() (woken bool, err error) {
	next := time.Duration(math.MaxInt64)
	for _, d := range s.due {
		next = min(next, d)
	}
	s.mu.Lock()
	if !s.woken {
		err = s.set(next)
	}
	s.mu.Unlock()
	if err != nil {
		return false, fmt.Errorf("timerfd_settime: %w", err)
	}
	var count [8]byte
	if _, err := s.timer.Read(count[:]); err != nil {
		return false, fmt.Errorf("timerfd: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	woken, s.woken = s.woken, false
	return woken, nil
}

func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
