package monitor

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// receiver is a mail server: RFC 5321 as far as a sender needs it, with STARTTLS (RFC 3207).
type receiver struct {
	addr string
	cert tls.Certificate
	ca   string // file

	mu     sync.Mutex
	reply  func(verb, arg string) string // what to answer instead, if not empty
	mails  []received
	conns  map[net.Conn]bool
	arrive chan struct{}
}

type received struct {
	from string
	to   []string
	tls  bool
	*mail.Message
	body string
}

func newReceiver(t *testing.T, starttls bool) *receiver {
	t.Helper()
	r := &receiver{conns: map[net.Conn]bool{}, arrive: make(chan struct{}, 1000)}
	if starttls {
		r.certificate(t)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns[c] = true
			r.mu.Unlock()
			wg.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		for c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		wg.Wait()
	})
	return r
}

func (r *receiver) certificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	r.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	r.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(r.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *receiver) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 mail.example.com ESMTP")
	var m received
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		r.mu.Lock()
		instead := ""
		if r.reply != nil {
			instead = r.reply(strings.ToUpper(verb), arg)
		}
		r.mu.Unlock()
		if instead != "" {
			say("%s", instead)
			continue
		}
		switch strings.ToUpper(verb) {
		case "EHLO", "HELO":
			if r.ca != "" && !m.tls {
				say("250-mail.example.com\r\n250 STARTTLS")
			} else {
				say("250 mail.example.com")
			}
		case "STARTTLS":
			say("220 go on")
			secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{r.cert}})
			if secure.Handshake() != nil {
				return
			}
			c, in, m.tls = secure, bufio.NewReader(secure), true
		case "MAIL":
			m.from, m.to = arg, nil
			say("250 ok")
		case "RCPT":
			m.to = append(m.to, arg)
			say("250 ok")
		case "DATA":
			say("354 go on")
			var text strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			m.Message, err = mail.ReadMessage(strings.NewReader(text.String()))
			if err != nil {
				say("554 %v", err)
				continue
			}
			body := new(strings.Builder)
			io.Copy(body, quotedprintable.NewReader(m.Message.Body))
			m.body = body.String()
			r.mu.Lock()
			r.mails = append(r.mails, m)
			r.mu.Unlock()
			say("250 ok")
			r.arrive <- struct{}{}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.mails...)
}

func (r *receiver) wait(t *testing.T) received {
	t.Helper()
	select {
	case <-r.arrive:
	case <-time.After(20 * time.Second):
		t.Fatal("no mail came in 20 s")
	}
	all := r.all()
	return all[len(all)-1]
}
