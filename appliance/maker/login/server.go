package login

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"masthead/appliance/maker"
)

// Server is a server that this head is logged in to, as root. Its methods are called one at a time. They block until the
// server has done what they say: there is no limit but the end of the connection.
type Server struct {
	client *ssh.Client
	own    ssh.PublicKey // this head's own key
	dir    string        // where the program was copied to; empty: it was not
}

// Address is where it was reached, without the port.
func (s *Server) Address() string {
	host, _, _ := net.SplitHostPort(s.client.RemoteAddr().String()) // a TCP address has both
	return host
}

// Close takes away what CopyProgram has copied, and logs out. A server that has gone meanwhile is no error.
func (s *Server) Close() {
	if s.dir != "" {
		_, _ = s.output("rm -rf " + s.dir) // it lies in memory, or in a folder for what is temporary
	}
	_ = s.client.Close() // the machine may have gone
}

// output runs a line in the server's shell and gives what it printed.
func (s *Server) output(line string) ([]byte, error) { return s.run(line, nil) }

// run is output with something on its standard input. What this program says when it fails there is the error.
func (s *Server) run(line string, in io.Reader) ([]byte, error) {
	session, err := s.client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("SSH: %w", err)
	}
	defer session.Close()
	var out, said bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = in, &out, &said
	err = session.Run(line)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return out.Bytes(), maker.SaidError(said.String(), exit.ExitStatus())
	}
	return out.Bytes(), err
}

// letIn adds the key on its standard input to those that may log in, once.
const letIn = `umask 077; mkdir -p ~/.ssh && read -r key && ` +
	`{ grep -qxF "$key" ~/.ssh/authorized_keys 2>/dev/null || echo "$key" >> ~/.ssh/authorized_keys; }`

// Authorize lets this head's own key in from now on, so that the next run needs no password. Where it is let in already
// nothing is done.
func (s *Server) Authorize() error {
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.own))) + " masthead-master-maker"
	_, err := s.run(letIn, strings.NewReader(line+"\n"))
	if err != nil {
		return fmt.Errorf("leave this head's key there: %w", err)
	}
	return nil
}

// findDir makes a folder of its own from which programs can be run: /run is mounted noexec on some systems.
const findDir = `for d in /dev/shm /run /tmp /var/tmp /root; do
  p=$(mktemp -d "$d/masthead-maker.XXXXXX" 2>/dev/null) || continue
  printf '#!/bin/sh\nexit 0\n' > "$p/try" && chmod 700 "$p/try" && "$p/try" 2>/dev/null && rm "$p/try" && echo "$p" && exit 0
  rm -rf "$p"
done
echo "error: no folder takes programs: /dev/shm, /run, /tmp, /var/tmp, /root" >&2
exit 1`

// CopyProgram copies this program, the file self, into a folder of its own there, for Masthead and Kexec. Close takes it
// away, also after an error.
func (s *Server) CopyProgram(self string) error {
	out, err := s.output(findDir)
	if err != nil {
		return fmt.Errorf("copy masthead there: %w", err)
	}
	s.dir = strings.TrimSpace(string(out))
	f, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("copy masthead there: %w", err)
	}
	defer f.Close()
	if _, err := s.run("umask 077; cat > "+s.dir+"/masthead && chmod 700 "+s.dir+"/masthead", f); err != nil {
		return fmt.Errorf("copy masthead there: %w", err)
	}
	return nil
}

// Masthead runs the program that CopyProgram has copied, with arguments as a shell takes them, and gives what it printed. If
// it fails the error is what it said (maker.SaidError).
func (s *Server) Masthead(args string) ([]byte, error) { return s.masthead(args, nil) }

func (s *Server) masthead(args string, in io.Reader) ([]byte, error) {
	return s.run(s.dir+"/masthead "+args, in)
}

// maxHostKey is more than any key has.
const maxHostKey = 16 << 10

// HostKeys are the SSH host keys of the server, both halves, by the names of their files in /etc/ssh. They are secrets. A
// server with none there, or with files that are no keys, is no error.
func (s *Server) HostKeys() (map[string][]byte, error) {
	out, err := s.output("cd /etc/ssh 2>/dev/null && ls ssh_host_*_key ssh_host_*_key.pub 2>/dev/null; true")
	if err != nil {
		return nil, fmt.Errorf("list its SSH host keys: %w", err)
	}
	keys := map[string][]byte{}
	for name := range strings.FieldsSeq(string(out)) {
		if strings.ContainsAny(name, "/'\"$`\\;&|<>()*? ") {
			continue // no name that ssh-keygen gives
		}
		data, err := s.output("head -c 16384 /etc/ssh/" + name)
		if err != nil {
			return nil, fmt.Errorf("read its SSH host keys: %w", err)
		}
		if len(data) < maxHostKey {
			keys[name] = data
		}
	}
	return keys, nil
}
