package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"masthead/appliance/maker"
)

// output runs a line in the server's shell and gives what it printed.
func (t *sshTarget) output(line string) ([]byte, error) { return t.run(line, nil) }

// run is output with something on its standard input. What this program says when it fails there is the error.
func (t *sshTarget) run(line string, in io.Reader) ([]byte, error) {
	s, err := t.client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("SSH: %w", err)
	}
	defer s.Close()
	var out, said bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = in, &out, &said
	err = s.Run(line)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return out.Bytes(), maker.SaidError(said.String(), exit.ExitStatus())
	}
	return out.Bytes(), err
}

// authorize lets this head's key in, so that the next run needs no password.
func (t *sshTarget) authorize(key ssh.PublicKey) error {
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " masthead-master-maker"
	_, err := t.run(`umask 077; mkdir -p ~/.ssh && read -r key && { grep -qxF "$key" ~/.ssh/authorized_keys 2>/dev/null || echo "$key" >> ~/.ssh/authorized_keys; }`,
		strings.NewReader(line+"\n"))
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

// copyProgram copies this program there.
func (t *sshTarget) copyProgram(self string) error {
	out, err := t.output(findDir)
	if err != nil {
		return fmt.Errorf("copy masthead there: %w", err)
	}
	t.dir = strings.TrimSpace(string(out))
	f, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("copy masthead there: %w", err)
	}
	defer f.Close()
	if _, err := t.run("umask 077; cat > "+t.dir+"/masthead && chmod 700 "+t.dir+"/masthead", f); err != nil {
		return fmt.Errorf("copy masthead there: %w", err)
	}
	return nil
}

// maxHostKey is more than any key has.
const maxHostKey = 16 << 10

// hostKeys are the SSH host keys of the server, both halves, by the names of their files.
func (t *sshTarget) hostKeys() (map[string][]byte, error) {
	out, err := t.output("cd /etc/ssh 2>/dev/null && ls ssh_host_*_key ssh_host_*_key.pub 2>/dev/null; true")
	if err != nil {
		return nil, fmt.Errorf("list its SSH host keys: %w", err)
	}
	keys := map[string][]byte{}
	for name := range strings.FieldsSeq(string(out)) {
		if strings.ContainsAny(name, "/'\"$`\\;&|<>()*? ") {
			continue // no name that ssh-keygen gives
		}
		data, err := t.output("head -c 16384 /etc/ssh/" + name)
		if err != nil {
			return nil, fmt.Errorf("read its SSH host keys: %w", err)
		}
		if len(data) < maxHostKey {
			keys[name] = data
		}
	}
	return keys, nil
}

// sizedReader is something of a known length.
type sizedReader struct {
	io.Reader
	size int64
}

// kexecOrder is the first line of what maker kexec reads; kernel and initramfs follow.
type kexecOrder struct {
	Kernel    int64  `json:"kernel"` // bytes
	Initramfs int64  `json:"initramfs"`
	Cmdline   string `json:"cmdline"`
}

// kexecLoaded is what maker kexec prints when the rest happens by itself: the connection may end with the machine.
const kexecLoaded = "restarts into the kernel of the head"

// kexec has the server load a kernel, and restart into it.
func (t *sshTarget) kexec(kernel, ramfs sizedReader, cmdline string) error {
	head, err := json.Marshal(kexecOrder{kernel.size, ramfs.size, cmdline})
	if err != nil {
		return err
	}
	in := io.MultiReader(bytes.NewReader(append(head, '\n')), io.LimitReader(kernel, kernel.size), io.LimitReader(ramfs, ramfs.size))
	out, err := t.run(t.dir+"/masthead maker kexec", in)
	if strings.Contains(string(out), kexecLoaded) {
		return nil
	}
	if err == nil {
		err = errors.New("it did not say that it restarts")
	}
	return fmt.Errorf("start it by kexec: %w", err)
}
