package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	patience      = 20 * time.Second
	passwordTries = 3
)

// Config is a server to log in to, and by what. Host, User, Dir and the two questions are required.
type Config struct {
	Host string // name or address; with a port, where that is not 22
	User string // must be root there
	// Dir is the folder with the key that this head logs in with (id_ed25519) and the host keys that it knows (known_hosts).
	// What is missing is made, for nobody else to read.
	Dir      string
	Identity string // file with another private key to try; empty: none
	HostKey  string // fingerprint of the server's host key that somebody said, SHA256:…; empty: nobody did
	// Password gives the password. It is called where no key lets in, and again after a wrong one; its error ends the login.
	Password func() (string, error)
	// Patience is how long the server may take to be reached and to show its host key; 0: 20 s.
	Patience time.Duration
	// Confirm asks whether a host key that nobody knows is the right one. If it gives no error the key is known from now on.
	// It is not called where HostKey is said.
	Confirm func(fingerprint string) error
}

// hint is an error with what to type next.
type hint struct {
	error
	try string
}

func (h *hint) Try() string   { return h.try }
func (h *hint) Unwrap() error { return h.error }

// Dial connects and logs in. The server is the caller's, who closes it. ctx is for the connection alone, Patience for the host
// key, too: from then on it blocks for as long as the server takes to answer, and somebody to answer the questions. Most errors say what to
// type next (Try), with the flags of master-maker.
func Dial(ctx context.Context, c Config) (*Server, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	own, err := ownKey(filepath.Join(c.Dir, "id_ed25519"))
	if err != nil {
		return nil, err
	}
	signers := []ssh.Signer{own}
	if c.Identity != "" {
		data, err := os.ReadFile(c.Identity)
		if err != nil {
			return nil, fmt.Errorf("--identity: %w", err)
		}
		s, err := ssh.ParsePrivateKey(data)
		if err != nil {
			return nil, fmt.Errorf("--identity %s: %w", c.Identity, err)
		}
		signers = append(signers, s)
	}
	addr := c.Host
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "22")
	}
	within := cmp.Or(c.Patience, patience)
	conn, err := (&net.Dialer{Timeout: within}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, &hint{fmt.Errorf("reach %s by SSH: %w", c.Host, err),
			"a machine without Linux is named by its MAC address: masthead node list"}
	}
	known := knownHosts{file: filepath.Join(c.Dir, "known_hosts"), fingerprint: c.HostKey, confirm: c.Confirm}
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil { // of a server that is there, and says nothing
		conn.Close()
		return nil, err
	}
	client, chans, reqs, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: c.User, HostKeyAlgorithms: hostKeyKinds,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			return errors.Join(conn.SetDeadline(time.Time{}), known.check(host, remote, key))
		},
		Auth: []ssh.AuthMethod{
			ssh.PublicKeys(signers...),
			ssh.RetryableAuthMethod(ssh.PasswordCallback(c.Password), passwordTries),
			ssh.KeyboardInteractive(c.answer),
		},
	})
	if err != nil {
		conn.Close()
		try := "--identity FILE, or --password-file FILE; root must be allowed to log in (PermitRootLogin in sshd_config)"
		var better interface{ Try() string }
		if errors.As(err, &better) && better.Try() != "" {
			try = better.Try()
		}
		if strings.Contains(err.Error(), os.ErrDeadlineExceeded.Error()) { // x/crypto/ssh does not wrap all that it is told
			try = "look at its console: something takes the connection there, and does not speak SSH"
		}
		return nil, &hint{fmt.Errorf("log in to %s as %s: %w", c.Host, c.User, err), try}
	}
	s := &Server{client: ssh.NewClient(client, chans, reqs), own: own.PublicKey()}
	if out, err := s.output("id -u"); err != nil || strings.TrimSpace(string(out)) != "0" {
		s.client.Close()
		return nil, errors.Join(&hint{fmt.Errorf("%s is not root on %s", c.User, c.Host), "--user root"}, err)
	}
	return s, nil
}

// answer is an ssh.KeyboardInteractiveChallenge: some servers ask for the password in this way only.
func (c Config) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i := range questions {
		if echos[i] {
			return nil, errors.New("it asks for more than a password")
		}
		text, err := c.Password()
		if err != nil {
			return nil, err
		}
		answers[i] = text
	}
	return answers, nil
}
