package login

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeyKinds is the order in which a server's keys are taken, always the same: a server with several is then known by one.
var hostKeyKinds = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}

// OnConsole tells the fingerprint of a machine's host key to root at its console. A head of masthead has the private key
// alone, which does as well.
const OnConsole = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key"

// FromConsole is the flag that takes it. The fingerprint that came over the network is not filled in: it would be accepted
// unseen.
const FromConsole = "--host-key SHA256:…, as its console says it: " + OnConsole

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
		return &hint{fmt.Errorf("its host key is %s, not %s", got, k.fingerprint),
			"somebody may be in between: compare it on its console: " + OnConsole}
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
		was := ssh.FingerprintSHA256(unknown.Want[0].Key)
		return &hint{fmt.Errorf("its host key has changed: it is %s, and was %s: "+
			"the machine was installed anew, or somebody is in between", got, was),
			"the same with " + FromConsole}
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
