package monitor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Mail says how the cluster sends mail.
type Mail struct {
	Server   string   `yaml:"server,omitempty"` // HOST or HOST:PORT; left out: no mail is sent
	TLS      MailTLS  `yaml:"tls,omitempty"`    // left out: starttls, but none to this machine itself
	CA       string   `yaml:"ca,omitempty"`     // file of PEM certificates that the server's is checked with; left out: the system's
	User     string   `yaml:"user,omitempty"`
	Password string   `yaml:"password,omitempty"` // in a configuration: secret:NAME
	From     string   `yaml:"from,omitempty"`     // left out: masthead@ the name of the head
	To       []string `yaml:"to,omitempty"`
}

// MailTLS is how the way to the mail server is protected.
type MailTLS string

const (
	MailStartTLS MailTLS = "starttls" // and nothing is sent without
	MailNone     MailTLS = "none"
	MailImplicit MailTLS = "implicit" // from the first byte on, port 465
)

// Message is one mail.
type Message struct {
	// Key is what it is about ("owner", a monitor's name): mails of one key that come fast become one.
	Key     string
	To      []string // none: Mail.To
	Subject string
	Text    string
	// Urgent mails wait a minute for one another, not a quarter of an hour.
	Urgent bool
	Time   time.Time // of what it tells; zero: when it is posted
	// Done, if not nil, is told once: nil if the mail was accepted by the server (alone or as part of a collected one), else
	// why it was given up. It must not block.
	Done func(error)
}

// Check says what is wrong with a configuration: all of it.
func (c Mail) Check() error {
	var errs []error
	bad := func(field, value, reason string) {
		errs = append(errs, &FieldError{Field: field, Value: value, Reason: reason})
	}
	if c.Server != "" {
		if _, _, err := c.address(); err != nil {
			bad("server", c.Server, err.Error())
		}
		if len(c.To) == 0 {
			bad("to", "", "nobody gets the mail")
		}
	}
	switch c.TLS {
	case "", MailStartTLS, MailNone, MailImplicit:
	default:
		bad("tls", string(c.TLS), "is none of starttls, none, implicit")
	}
	if c.User != "" && c.TLS == MailNone && !c.local() {
		bad("user", c.User, "its password would be readable on the way: tls is none")
	}
	for i, to := range c.To {
		if !mailable(to) {
			bad(fmt.Sprintf("to[%d]", i), to, "is no mail address")
		}
	}
	if c.From != "" && !mailable(c.From) {
		bad("from", c.From, "is no mail address")
	}
	return errors.Join(errs...)
}

// mailable reports whether a mail can be addressed so.
func mailable(addr string) bool {
	return gomail.NewMsg().To(addr) == nil
}

// address is where the server listens.
func (c Mail) address() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(c.Server)
	if err != nil {
		if host = strings.Trim(c.Server, "[]"); strings.Contains(host, ":") {
			if _, err := netip.ParseAddr(host); err != nil {
				return "", 0, errors.New("is not HOST or HOST:PORT")
			}
		}
		if c.TLS == MailImplicit {
			return host, 465, nil
		}
		return host, 25, nil
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 || host == "" {
		return "", 0, errors.New("is not HOST or HOST:PORT")
	}
	return host, port, nil
}

// local: the server is this machine, where nobody listens on the way.
func (c Mail) local() bool {
	host, _, err := c.address()
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
