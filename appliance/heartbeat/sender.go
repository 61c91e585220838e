package heartbeat

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sender is the thread that sends. It waits in the kernel for an absolute time of a timerfd, and not for a timer of Go's
// scheduler, which a long run of other goroutines can delay.
type sender struct {
	h     *Heartbeat
	timer int
	event int // eventfd: something is to be sent out of turn, or ctx has ended
	due   []time.Duration

	mu     sync.Mutex
	closed bool
}

func newSender(h *Heartbeat) (*sender, error) {
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(timer)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &sender{h: h, timer: timer, event: event, due: make([]time.Duration, len(h.links))}, nil
}

// wake makes the thread send on all links now. It does not block.
func (s *sender) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	_, _ = unix.Write(s.event, binary.NativeEndian.AppendUint64(nil, 1)) // full only after 2^64 wakes that nobody saw
}

func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	unix.Close(s.timer)
	unix.Close(s.event)
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

// wait blocks the thread until the next turn, or until it is woken.
func (s *sender) wait() (woken bool, err error) {
	next := time.Duration(math.MaxInt64)
	for _, d := range s.due {
		next = min(next, d)
	}
	if len(s.due) > 0 {
		at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(next))}
		if err := unix.TimerfdSettime(s.timer, unix.TFD_TIMER_ABSTIME, &at, nil); err != nil {
			return false, fmt.Errorf("timerfd_settime: %w", err)
		}
	}
	fds := []unix.PollFd{{Fd: int32(s.timer), Events: unix.POLLIN}, {Fd: int32(s.event), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
		return false, fmt.Errorf("poll: %w", err)
	}
	var count [8]byte
	_, _ = unix.Read(s.timer, count[:]) // setting it again forgets it too
	n, _ := unix.Read(s.event, count[:])
	return n > 0, nil
}

func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("clock_gettime: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
