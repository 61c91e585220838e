package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sender sends when it is time, which a timerfd says: an absolute time, kept by the kernel. That this goroutine then runs at
// once is what spareProcessors are for.
//
// It waits in the runtime's poller, and not in a system call of its own: while a thread is in one, the runtime looks for 10 ms
// whether others want its place, first every 20 µs and then less often, some fifty times (runtime/proc.go, sysmon and
// retake). With 20 heartbeats a second on each of two links that was a thousand wakings a second for nothing, and most of what
// this process took of a slow processor.
type sender struct {
	h     *Heartbeat
	timer *os.File // timerfd
	due   []time.Duration

	mu    sync.Mutex
	woken bool // something is to be sent out of turn, or ctx has ended
}

func newSender(h *Heartbeat) (*sender, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	return &sender{h: h, timer: os.NewFile(uintptr(fd), "timerfd"), due: make([]time.Duration, len(h.links))}, nil
}

// wake makes it send on all links now. It does not block.
func (s *sender) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = true
	_ = s.set(0) // closed: Run has ended
}

func (s *sender) close() { s.timer.Close() }

// set makes the timer expire at a time of CLOCK_MONOTONIC; one that has been is now. The caller has the lock.
func (s *sender) set(at time.Duration) error {
	raw, err := s.timer.SyscallConn()
	if err != nil {
		return err
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(at), 1))} // zero would stop it
	var no error
	err = raw.Control(func(fd uintptr) { no = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &spec, nil) })
	return errors.Join(err, no)
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) error {
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
	if s.woken {
		next = 0
	}
	err = s.set(next)
	s.mu.Unlock()
	if err != nil {
		return false, fmt.Errorf("timerfd_settime: %w", err)
	}
	var expirations [8]byte
	if _, err := s.timer.Read(expirations[:]); err != nil {
		return false, fmt.Errorf("wait for the next turn: %w", err)
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
