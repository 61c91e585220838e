package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const (
	sshTime       = 20 * time.Second
	passwordTries = 3
)

// hostKeyKinds is the order in which a server's keys are taken, always the same: a server with several is then known by one.
var hostKeyKinds = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}

// ownKey is the key with which this head logs in to others; it is made once.
func ownKey(file string) (ssh.Signer, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		var private ed25519.PrivateKey
		if _, private, err = ed25519.GenerateKey(rand.Reader); err != nil {
			return nil, err
		}
		var block *pem.Block
		if block, err = ssh.MarshalPrivateKey(private, "masthead master-maker"); err == nil {
			data = pem.EncodeToMemory(block)
			err = renameio.WriteFile(file, data, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the key to log in with: %w", err)
	}
	s, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// askPassword gives the password: of a file, or asked for, once.
func (m *making) askPassword() func() (string, error) {
	var have string
	return func() (string, error) {
		if m.f.passwordFile != "" {
			data, err := m.readFile(m.f.passwordFile)
			return strings.TrimRight(string(data), "\r\n"), err
		}
		if have != "" {
			return have, nil
		}
		if !terminalIn(m.in) {
			return "", &hint{errors.New("nobody is there to be asked for the password"), "--identity FILE, or --password-file FILE"}
		}
		m.show.close()
		return m.askHidden(fmt.Sprintf("Password of %s on %s (not shown): ", m.f.user, m.f.wishes.Host))
	}
}

// confirmHostKey asks whether a host key that nobody knows is the right one.
func (m *making) confirmHostKey(fingerprint string) error {
	m.show.close()
	fmt.Fprintf(m.err, "%s has the host key %s, which this head does not know.\nOn its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n", m.f.wishes.Host, fingerprint)
	return m.confirmName("Type yes if it is the right one: ", "yes", false, "masthead master-maker "+m.f.wishes.Host+" --host-key "+fingerprint)
}

// knownHosts are the machines that this head has logged in to before.
type knownHosts struct {
	file        string // as OpenSSH's (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)
	fingerprint string // what somebody said; empty: nothing
	confirm     func(fingerprint string) error
}

// check is an ssh.HostKeyCallback.
func (k knownHosts) check(host string, remote net.Addr, key ssh.PublicKey) error {
	got := ssh.FingerprintSHA256(key)
	if k.fingerprint != "" && k.fingerprint != got {
		return &hint{fmt.Errorf("its host key is %s, not %s", got, k.fingerprint), "somebody may be in between: compare it on its console"}
	}
	f, err := os.OpenFile(k.file, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	known, err := knownhosts.New(k.file)
	if err != nil {
		return err
	}
	err = known(host, remote, key)
	var unknown *knownhosts.KeyError
	if !errors.As(err, &unknown) {
		return err
	}
	if len(unknown.Want) > 0 && k.fingerprint == "" {
		return &hint{fmt.Errorf("its host key has changed: it is %s, and was %s: the machine was installed anew, or somebody is in between", got, ssh.FingerprintSHA256(unknown.Want[0].Key)),
			"compare it on its console, then add: --host-key " + got}
	}
	if k.fingerprint == "" {
		if err := k.confirm(got); err != nil {
			return err
		}
	}
	return k.learn(host, key)
}

// learn writes a host key down, in place of what was there for the host.
func (k knownHosts) learn(host string, key ssh.PublicKey) error {
	name := knownhosts.Normalize(host)
	data, err := os.ReadFile(k.file)
	if err != nil {
		return err
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, name+" ") {
			text.WriteString(line)
		}
	}
	text.WriteString(knownhosts.Line([]string{name}, key) + "\n")
	return renameio.WriteFile(k.file, []byte(text.String()), 0o600)
}
