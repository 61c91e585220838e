package monitor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drain sends all that the outbox gives until a time, and returns when and what.
func drain(o *outbox, from, to time.Time, ok func(time.Time) bool) (sent []string, at []time.Time) {
	for now := from; !now.After(to); {
		p, wait := o.next(now)
		if p == nil {
			if wait == 0 {
				break
			}
			now = now.Add(wait)
			continue
		}
		if !ok(now) {
			o.failed(p, now)
			continue
		}
		sent, at = append(sent, p.mail().Subject), append(at, now)
		o.sent(p, now)
	}
	return sent, at
}

func always(time.Time) bool { return true }

// TestFlappingLink: a link that fails 8,640 times a day.
func TestFlappingLink(t *testing.T) {
	o, mails, told := newOutbox(), 0, 0
	now := noon
	for i := range 8640 {
		now = noon.Add(time.Duration(i) * 10 * time.Second)
		o.add(Message{Key: "link", Subject: fmt.Sprintf("eth0 %d", i)}, now)
		for {
			p, _ := o.next(now)
			if p == nil {
				break
			}
			mails++
			told += len(p.messages) + p.left
			o.sent(p, now)
		}
	}
	rest, _ := drain(o, now, now.Add(time.Hour), always)
	if mails+len(rest) > 100 || mails < 90 {
		t.Errorf("%d mails in a day, want 90 to 100", mails)
	}
	if told < 8640-90 || len(rest) != 1 || !strings.HasPrefix(rest[0], "eth0 8639") {
		t.Errorf("%d of 8640 told, then %q: the last state is not told", told, rest)
	}
}

// A takeover is told within a minute, whatever was told in the minutes before.
func TestOutboxUrgent(t *testing.T) {
	o := newOutbox()
	sent := 0
	for i := range 40 {
		now := noon.Add(time.Duration(i) * 5 * time.Second)
		o.add(Message{Key: "owner", Subject: "takeover", Urgent: true}, now)
		p, wait := o.next(now)
		if p != nil {
			sent++
			o.sent(p, now)
		} else if wait <= 0 || wait > urgentRefill {
			t.Fatalf("the next mail in %s", wait)
		}
	}
	if want := urgentBurst + 3; sent != want { // 195 s
		t.Errorf("%d mails, want %d", sent, want)
	}
}

func TestOutboxFirstMailsGoAtOnce(t *testing.T) {
	o := newOutbox()
	var at []time.Duration
	for i := range 5 {
		now := noon.Add(time.Duration(i) * time.Second)
		o.add(Message{Key: "owner", Subject: "takeover", Text: fmt.Sprint("text ", i)}, now)
		if p, _ := o.next(now); p != nil {
			at = append(at, now.Sub(noon))
			o.sent(p, now)
		}
	}
	if len(at) != keyBurst {
		t.Errorf("sent after %v, want the first %d", at, keyBurst)
	}
	p, wait := o.next(noon.Add(5 * time.Second))
	if p != nil || wait <= 0 || wait > keyRefill {
		t.Fatalf("%v, then in %s", p, wait)
	}
	p, _ = o.next(noon.Add(5 * time.Second).Add(wait))
	if p == nil {
		t.Fatal("nothing when it was said")
	}
	want := "2 messages in one, so that they do not flood you:\n\n  2026-11-22 12:00:03  takeover\n  2026-11-22 12:00:04  takeover\n\nThe last of them:\n\ntext 4"
	if m := p.mail(); m.Text != want || m.Subject != "takeover (and 1 before)" {
		t.Errorf("%s\n%s", m.Subject, m.Text)
	}
	// Another thing does not wait for it.
	o.add(Message{Key: "fence", Subject: "fence"}, noon.Add(6*time.Second))
	if p, _ := o.next(noon.Add(6 * time.Second)); p == nil || p.mail().Subject != "fence" {
		t.Error("one thing's mails wait for another's")
	}
}

func TestOutboxRetries(t *testing.T) {
	o := newOutbox()
	o.add(Message{Key: "a", Subject: "a"}, noon)
	tries := 0
	back := noon.Add(3 * time.Hour)
	sent, at := drain(o, noon, noon.Add(48*time.Hour), func(now time.Time) bool { tries++; return now.After(back) })
	if len(sent) != 1 || at[0].Sub(back) > retryMost || tries > 40 {
		t.Errorf("%q at %v after %d tries", sent, at, tries)
	}
	// A server that never comes back.
	o.add(Message{Key: "b", Subject: "b"}, noon)
	if sent, _ := drain(o, noon, noon.Add(48*time.Hour), func(time.Time) bool { return false }); sent != nil || len(o.waiting) != 0 {
		t.Errorf("%q, %d wait", sent, len(o.waiting))
	}
}

func TestOutboxIsBounded(t *testing.T) {
	o := newOutbox()
	displaced := 0
	for i := range 5000 {
		if _, ok := o.add(Message{Key: fmt.Sprint(i), Subject: fmt.Sprint(i)}, noon); ok {
			displaced++
		}
	}
	messages := 0
	for _, p := range o.waiting {
		messages += len(p.messages)
	}
	if len(o.waiting) > maxWaiting+1 || messages > maxWaiting+maxCollected || displaced+messages != 5000 {
		t.Errorf("%d mails of %d messages, %d displaced", len(o.waiting), messages, displaced)
	}
}

// TestOutboxLosesNothing: every message is told or displaced, none twice, whatever comes and fails.
func TestOutboxLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, now := newOutbox(), noon
		added, told, displaced := 0, 0, 0
		var sending []*parcel
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				if _, ok := o.add(Message{Key: rapid.StringMatching("[abc]").Draw(t, "key"), To: rapid.SliceOfN(rapid.Just("x"), 0, 1).Draw(t, "to")}, now); ok {
					displaced++
				}
				added++
			case 1:
				now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "seconds")) * time.Second)
			case 2:
				if p, _ := o.next(now); p != nil {
					sending = append(sending, p)
				}
			case 3:
				if len(sending) > 0 {
					p := sending[0]
					sending = sending[1:]
					if rapid.Bool().Draw(t, "fails") {
						o.failed(p, now)
						if now.Sub(p.since) >= keepTrying {
							told += len(p.messages)
						}
					} else {
						o.sent(p, now)
						told += len(p.messages)
					}
				}
			}
		}
		waiting := 0
		for _, p := range o.waiting {
			waiting += len(p.messages)
		}
		if added != told+displaced+waiting {
			t.Fatalf("%d added, %d told, %d displaced, %d wait", added, told, displaced, waiting)
		}
	})
}

func TestMailCheck(t *testing.T) {
	for _, tt := range []struct {
		mail Mail
		want string
	}{
		{Mail{}, ""},
		{Mail{Server: "mail.example.com", To: []string{"root@example.com"}}, ""},
		{Mail{Server: "[2001:db8::25]:587", To: []string{"root@example.com"}, User: "u", Password: "p"}, ""},
		{Mail{Server: "2001:db8::25", To: []string{"Root <root@example.com>"}}, ""},
		{Mail{Server: "mail:smtp", To: []string{"root@example.com"}}, "server: mail:smtp is not HOST or HOST:PORT"},
		{Mail{Server: "mail:70000", To: []string{"root@example.com"}}, "server: mail:70000 is not HOST or HOST:PORT"},
		{Mail{Server: "mail"}, "to: nobody gets the mail"},
		{Mail{Server: "mail", To: []string{"EMAILADDRESS"}}, "to[0]: EMAILADDRESS is no mail address"},
		{Mail{Server: "mail", To: []string{"a@b.c"}, TLS: "ssl"}, "tls: ssl is none of starttls, none, implicit"},
		{Mail{Server: "mail", To: []string{"a@b.c"}, TLS: MailNone, User: "u"}, "user: u its password would be readable on the way: tls is none"},
		{Mail{From: "x"}, "from: x is no mail address"},
	} {
		err := tt.mail.Check()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.mail, got, tt.want)
		}
		if f := (*FieldError)(nil); err != nil && !errors.As(err, &f) {
			t.Errorf("%v names no field", err)
		}
	}
}
