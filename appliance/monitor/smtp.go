package monitor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// deliver has one try at giving the server a mail to these recipients.
func (m *Mailer) deliver(ctx context.Context, c Mail, msg Message, to ...string) error {
	host, port, err := c.address()
	if err != nil {
		return err
	}
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate", c.CA)
		}
	}
	options := []gomail.Option{gomail.WithPort(port), gomail.WithTLSConfig(config), gomail.WithTimeout(sendTimeout)}
	switch {
	case c.TLS == MailImplicit:
		options = append(options, gomail.WithSSL())
	case c.TLS == MailNone || c.TLS == "" && c.local():
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if c.User != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(c.User), gomail.WithPassword(c.Password))
	}
	client, err := gomail.NewClient(host, options...)
	if err != nil {
		return err
	}
	mail := gomail.NewMsg()
	from := c.From
	if from == "" {
		from = "masthead@" + m.self
	}
	if err := mail.From(from); err != nil {
		return err
	}
	if err := mail.To(to...); err != nil {
		return err
	}
	if msg.Time.IsZero() {
		msg.Time = time.Now()
	}
	mail.SetDateWithValue(msg.Time)
	mail.SetMessageID()
	mail.Subject(strings.Join(strings.Fields(msg.Subject), " "))
	// Vacation notices need not answer (RFC 3834, section 5).
	mail.SetGenHeader("Auto-Submitted", "auto-generated")
	mail.SetBodyString(gomail.TypeTextPlain, msg.Text)
	return client.DialAndSendWithContext(ctx, mail)
}
