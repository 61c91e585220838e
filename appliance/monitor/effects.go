package monitor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"masthead/appliance/failover"
)

// effect is what is to be done of a step, outside the lock of the Set. ctx is that of Run.
type effect func(ctx context.Context)

// tell is the event of a step, where one is due: a monitor is down, up again, or cannot be checked.
func (s *Set) tell(m Monitor, before, after State, now time.Time) []effect {
	event := s.config.Event
	say := func(bad bool, format string, args ...any) []effect {
		text := fmt.Sprintf(format, args...)
		return []effect{func(context.Context) { event(text, bad) }}
	}
	need := max(1, m.Failures)
	switch {
	case after.Last.Reading == failover.Down && after.Failing == need && after.Because != "":
		return say(true, "monitor %s is down because %s is: %s", m.Name, after.Because, after.Last.line())
	case after.Last.Reading == failover.Down && after.Failing == need:
		return say(true, "monitor %s is down: %s", m.Name, after.Last.line())
	case after.Last.Reading == failover.Up && before.Failing >= need:
		return say(false, "monitor %s is up again, after %s", m.Name, now.Sub(before.FirstFailure).Round(time.Second))
	case after.Last.Reading == failover.Up && before.Unknown >= UnknownAfter:
		return say(false, "monitor %s can be checked again, and is up", m.Name)
	case after.Unknown == UnknownAfter:
		return say(true, "monitor %s cannot be checked: %s", m.Name, after.Last.line())
	}
	return nil
}

func (s *Set) failover(reason string) effect {
	event, ask := s.config.Event, s.config.Failover
	return func(context.Context) {
		event(reason+": this head asks another to take over", true)
		if ask != nil {
			ask(reason)
		}
	}
}

func (s *Set) mail(a MailAlert, n Notice) effect {
	event, mailer := s.config.Event, s.config.Mailer
	msg := Message{Key: "monitor " + n.Monitor, To: a.To, Subject: n.subject(a.Subject), Text: n.text(), Time: n.Time}
	msg.Done = func(err error) {
		if err != nil {
			event(fmt.Sprintf("the mail about monitor %s was not sent: %v", n.Monitor, err), true)
		}
	}
	return func(context.Context) {
		if mailer == nil {
			msg.Done(ErrNoServer)
			return
		}
		mailer.Post(msg)
	}
}

// line is the webhooks and commands of one monitor, one after the other, so that they come in the order of what they tell.
type line struct {
	mu   sync.Mutex
	jobs []func(context.Context)
	busy bool
}

func (s *Set) enqueue(w *watch, n Notice, d Due) effect {
	event, m, l := s.config.Event, w.m, w.line
	failed := func(err error) {
		event(fmt.Sprintf("an alert of monitor %s was not delivered: %v", m.Name, err), true)
	}
	dirs := s.config.MonDir
	return func(ctx context.Context) {
		job := func(ctx context.Context) {
			if err := d.deliver(ctx, m, n, dirs); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.jobs) >= alertsWaiting {
			failed(errors.New("too many wait"))
			return
		}
		l.jobs = append(l.jobs, job)
		if !l.busy {
			l.busy = true
			s.running.Go(func() { l.work(ctx) })
		}
	}
}

func (l *line) work(ctx context.Context) {
	for {
		l.mu.Lock()
		if len(l.jobs) == 0 {
			l.busy = false
			l.mu.Unlock()
			return
		}
		job := l.jobs[0]
		l.jobs = l.jobs[1:]
		l.mu.Unlock()
		job(ctx)
	}
}
