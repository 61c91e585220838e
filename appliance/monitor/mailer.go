package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
)

const (
	// sendTimeout is for one mail. RFC 5321 (4.5.3.2) has minutes for each command; the queue tries again instead.
	sendTimeout = 60 * time.Second
	// flushTimeout is what is left for the queue when the daemon ends.
	flushTimeout = 5 * time.Second
)

// ErrNoServer is the answer to a mail where none can be sent.
var ErrNoServer = errors.New("no mail server is configured")

// Mailer sends mails, at once (Send) or from a queue (Post), which tries again and collects what comes too fast. The queue
// is in memory: it is lost with the process.
type Mailer struct {
	self string
	log  *slog.Logger
	wake chan struct{}

	mu   sync.Mutex
	mail Mail
	box  *outbox
}

// NewMailer makes a Mailer for the head called self. Nothing is sent from its queue before Run.
func NewMailer(mail Mail, self string, log *slog.Logger) (*Mailer, error) {
	if log == nil {
		log = slog.Default()
	}
	m := &Mailer{self: self, log: log, wake: make(chan struct{}, 1), box: newOutbox()}
	return m, m.Configure(mail)
}

// Configure changes where mails go, those in the queue too.
func (m *Mailer) Configure(mail Mail) error {
	if err := mail.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	m.mail = mail
	m.mu.Unlock()
	m.poke()
	return nil
}

// Send sends one mail now, tried once, and blocks until the server has it or has refused it. Recipients that the server
// refuses do not keep the others from getting it; the error names them.
func (m *Mailer) Send(ctx context.Context, msg Message) error {
	m.mu.Lock()
	c := m.mail
	m.mu.Unlock()
	if c.Server == "" {
		return ErrNoServer
	}
	if len(msg.To) == 0 {
		msg.To = c.To
	}
	if len(msg.To) == 0 {
		return errors.New("sending mail: it has no recipient")
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := m.deliver(ctx, c, msg, msg.To...)
	// A server that refuses one recipient may take the others; go-mail gives the whole mail up.
	var refused *gomail.SendError
	if len(msg.To) > 1 && errors.As(err, &refused) && refused.Reason == gomail.ErrSMTPRcptTo {
		var errs []error
		for _, to := range msg.To {
			errs = append(errs, m.deliver(ctx, c, msg, to))
		}
		err = errors.Join(errs...)
	}
	if err != nil {
		return fmt.Errorf("sending mail by %s: %w", c.Server, err)
	}
	return nil
}

// Post puts a mail into the queue and returns at once.
func (m *Mailer) Post(msg Message) {
	m.mu.Lock()
	none := m.mail.Server == ""
	var displaced Message
	if !none {
		displaced, _ = m.box.add(msg, time.Now())
	}
	m.mu.Unlock()
	if none {
		msg.done(ErrNoServer)
		return
	}
	displaced.done(errors.New("left out of a mail of too many messages"))
	m.poke()
}

func (m Message) done(err error) {
	if m.Done != nil {
		m.Done(err)
	}
}

func (m *Mailer) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run sends what is in the queue until ctx ends; then it tries once more what is still there.
func (m *Mailer) Run(ctx context.Context) error {
	for {
		m.mu.Lock()
		p, wait := m.box.next(time.Now())
		m.mu.Unlock()
		if p != nil {
			m.try(ctx, p)
			continue
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			m.flush()
			return ctx.Err()
		case <-m.wake:
		case <-timer:
		}
	}
}

func (m *Mailer) try(ctx context.Context, p *parcel) {
	err := m.Send(ctx, p.mail())
	now := time.Now()
	m.mu.Lock()
	if err != nil && !refused(err) && m.box.failed(p, now) {
		again := p.retry.Sub(now)
		m.mu.Unlock()
		m.log.Warn("a mail waits", "subject", p.mail().Subject, "err", err, "again_in", again)
		return
	}
	m.box.sent(p, now)
	m.mu.Unlock()
	if err != nil {
		m.log.Error("a mail is given up", "subject", p.mail().Subject, "err", err)
	}
	for _, msg := range p.messages {
		msg.done(err)
	}
}

// refused: the server has said for good that it does not take the mail (RFC 5321, 4.2.1).
func refused(err error) bool {
	var e *gomail.SendError
	return errors.As(err, &e) && e.ErrorCode() >= 500
}

// flush gives what waits its last chance.
func (m *Mailer) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	for ctx.Err() == nil {
		m.mu.Lock()
		var p *parcel
		for _, q := range m.box.waiting {
			if p == nil || q.order < p.order {
				p = q
			}
		}
		m.mu.Unlock()
		if p == nil {
			return
		}
		err := m.Send(ctx, p.mail())
		m.mu.Lock()
		m.box.sent(p, time.Now())
		m.mu.Unlock()
		if err != nil {
			m.log.Error("a mail is given up: the daemon ends", "subject", p.mail().Subject, "err", err)
		}
		for _, msg := range p.messages {
			msg.done(err)
		}
	}
	m.mu.Lock()
	rest := m.box.waiting
	m.box = newOutbox()
	m.mu.Unlock()
	for _, p := range rest {
		for _, msg := range p.messages {
			msg.done(ctx.Err())
		}
	}
}
