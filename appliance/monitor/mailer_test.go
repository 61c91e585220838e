package monitor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func newMailer(t *testing.T, c Mail) *Mailer {
	t.Helper()
	m, err := NewMailer(c, "head1", nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// start runs something until the test ends, or until the returned function is called.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestMailIsSent(t *testing.T) {
	r := newReceiver(t, false)
	m := newMailer(t, Mail{Server: r.addr, To: []string{"root@example.com", "Ops <ops@example.com>"}})
	err := m.Send(t.Context(), Message{Subject: "two\nlines: Gerät", Text: "Straße\n.\n..dots\n", Time: noon})
	if err != nil {
		t.Fatal(err)
	}
	got := r.all()[0]
	if got.tls || got.from != "FROM:<masthead@head1>" || strings.Join(got.to, " ") != "TO:<root@example.com> TO:<ops@example.com>" {
		t.Errorf("tls %v, %s, %s", got.tls, got.from, got.to)
	}
	if s := got.Header.Get("Subject"); s != "=?UTF-8?q?two_lines:_Ger=C3=A4t?=" {
		t.Errorf("subject %s", s)
	}
	if d, err := got.Header.Date(); err != nil || !d.Equal(noon) {
		t.Errorf("date %v, %v", d, err)
	}
	if want := "Straße\r\n.\r\n..dots\r\n"; got.body != want {
		t.Errorf("body %q, want %q", got.body, want)
	}
}

func TestMailStartTLS(t *testing.T) {
	r := newReceiver(t, true)
	to := []string{"root@example.com"}
	if err := newMailer(t, Mail{Server: r.addr, TLS: MailStartTLS, CA: r.ca, To: to}).Send(t.Context(), Message{Subject: "s"}); err != nil {
		t.Fatal(err)
	}
	if got := r.all(); len(got) != 1 || !got[0].tls {
		t.Errorf("%+v", got)
	}
	// A certificate that nobody vouches for, and a server that cannot STARTTLS: nothing is sent in the clear.
	if err := newMailer(t, Mail{Server: r.addr, TLS: MailStartTLS, To: to}).Send(t.Context(), Message{Subject: "s"}); err == nil {
		t.Error("sent to a server with an unknown certificate")
	}
	plain := newReceiver(t, false)
	if err := newMailer(t, Mail{Server: plain.addr, TLS: MailStartTLS, To: to}).Send(t.Context(), Message{Subject: "s"}); err == nil || len(plain.all()) > 0 {
		t.Errorf("without STARTTLS: %v, %d mails", err, len(plain.all()))
	}
}

// TestMailOneRecipientRefused: the others get it.
func TestMailOneRecipientRefused(t *testing.T) {
	r := newReceiver(t, false)
	r.reply = func(verb, arg string) string {
		if verb == "RCPT" && strings.Contains(arg, "gone@") {
			return "550 no such user"
		}
		return ""
	}
	m := newMailer(t, Mail{Server: r.addr, To: []string{"gone@example.com", "root@example.com"}})
	err := m.Send(t.Context(), Message{Subject: "s"})
	if err == nil || !strings.Contains(err.Error(), "gone@example.com") {
		t.Errorf("%v", err)
	}
	if got := r.all(); len(got) != 1 || strings.Join(got[0].to, "") != "TO:<root@example.com>" {
		t.Errorf("%+v", got)
	}
}

// TestMailQueue: what a server refuses for now stays in the queue, and gets its last chance when the daemon ends.
func TestMailQueue(t *testing.T) {
	r := newReceiver(t, false)
	refused := make(chan struct{})
	first := true
	r.reply = func(verb, _ string) string {
		if verb == "MAIL" && first {
			first = false
			close(refused)
			return "451 greylisted"
		}
		return ""
	}
	m := newMailer(t, Mail{Server: r.addr, To: []string{"root@example.com"}})
	done := make(chan error, 2)
	stop := start(t, m.Run)
	m.Post(Message{Key: "owner", Subject: "head1 owns", Done: func(err error) { done <- err }})
	<-refused
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := r.all(); len(got) != 1 || got[0].Header.Get("Subject") != "head1 owns" {
		t.Errorf("%+v", got)
	}
}

func TestMailRefusedForGood(t *testing.T) {
	r := newReceiver(t, false)
	r.reply = func(verb, _ string) string {
		if verb == "DATA" {
			return "554 no"
		}
		return ""
	}
	m := newMailer(t, Mail{Server: r.addr, To: []string{"root@example.com"}})
	start(t, m.Run)
	done := make(chan error, 1)
	m.Post(Message{Subject: "s", Done: func(err error) { done <- err }})
	if err := <-done; err == nil {
		t.Error("accepted")
	}
}

func TestMailWithoutServer(t *testing.T) {
	m := newMailer(t, Mail{})
	var got error
	m.Post(Message{Subject: "s", Done: func(err error) { got = err }})
	if !errors.Is(got, ErrNoServer) {
		t.Errorf("%v", got)
	}
	if err := m.Send(t.Context(), Message{}); !errors.Is(err, ErrNoServer) {
		t.Errorf("%v", err)
	}
}
