package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
)

// Mailbox is a mail server of the lab's: it takes every mail and delivers none (SMTP, RFC 5321, as far as it goes without
// extensions). Machines with forwarded ports reach it at their gateway, 10.0.2.2.
type Mailbox struct {
	listener net.Listener
	all      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	mails []string
}

// OpenMailbox listens on a port of the host's loopback.
func OpenMailbox(ctx context.Context) (*Mailbox, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("mailbox: %w", err)
	}
	b := &Mailbox{listener: l, conns: map[net.Conn]bool{}}
	b.all.Go(b.serve)
	return b, nil
}

// Guest is the server's address as machines of the lab see it.
func (b *Mailbox) Guest() string {
	return fmt.Sprintf("10.0.2.2:%d", b.listener.Addr().(*net.TCPAddr).Port)
}

// Mails are the mails that came, header and body, oldest first.
func (b *Mailbox) Mails() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.mails...)
}

// Close ends the server.
func (b *Mailbox) Close() error {
	err := b.listener.Close()
	b.mu.Lock()
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.all.Wait()
	return err
}

func (b *Mailbox) serve() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return // closed
		}
		b.mu.Lock()
		b.conns[conn] = true
		b.mu.Unlock()
		b.all.Go(func() {
			_ = b.talk(conn) // a client that breaks off has sent nothing
			conn.Close()
			b.mu.Lock()
			delete(b.conns, conn)
			b.mu.Unlock()
		})
	}
}

// maxMail bounds one mail.
const maxMail = 1 << 20

// talk takes mails until the client quits.
func (b *Mailbox) talk(conn io.ReadWriter) error {
	in := textproto.NewReader(bufio.NewReader(conn))
	say := func(line string) error {
		_, err := io.WriteString(conn, line+"\r\n")
		return err
	}
	err := say("220 lab")
	for err == nil {
		var line string
		if line, err = in.ReadLine(); err != nil {
			break
		}
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch verb {
		case "DATA":
			if err = say("354 go on"); err != nil {
				break
			}
			var mail []byte
			if mail, err = io.ReadAll(io.LimitReader(in.DotReader(), maxMail)); err != nil {
				break
			}
			b.mu.Lock()
			b.mails = append(b.mails, string(mail))
			b.mu.Unlock()
			err = say("250 taken")
		case "QUIT":
			return say("221 bye")
		case "EHLO", "HELO", "MAIL", "RCPT", "RSET", "NOOP":
			err = say("250 lab")
		default:
			err = say("502 not here")
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
