package login

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"masthead/vmtest/prerequisite"
)

// sshServer is OpenSSH's, for root, in a folder of its own: what it lets in and where home is lies there.
type sshServer struct {
	addr, home, fingerprint string
	keyFile                 string // of a key that may log in
	process                 *exec.Cmd
}

func startSSH(t *testing.T) *sshServer {
	t.Helper()
	const program = "/usr/sbin/sshd"
	prerequisite.Root(t)
	prerequisite.Programs(t, program)
	dir := t.TempDir()
	s := &sshServer{home: filepath.Join(dir, "home"), keyFile: filepath.Join(dir, "admin")}
	// Where sshd puts its unprivileged half (its own default on Debian); it lies in memory.
	for _, d := range []string{"/run/sshd", s.home + "/.ssh"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(s.addr)
	hostKey := filepath.Join(dir, "host")
	s.fingerprint = ssh.FingerprintSHA256(writeKey(t, hostKey))
	admin := writeKey(t, s.keyFile)
	writeFile(t, filepath.Join(s.home, ".ssh/authorized_keys"), string(ssh.MarshalAuthorizedKey(admin)))
	config := filepath.Join(dir, "sshd_config")
	writeFile(t, config, fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s\n"+
		"PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication yes\n"+
		"AuthorizedKeysFile %s/.ssh/authorized_keys\nSetEnv HOME=%s\n", port, hostKey, s.home, s.home))
	s.process = exec.Command(program, "-D", "-e", "-f", config)
	var said bytes.Buffer
	s.process.Stderr = &said
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", said.String())
		}
	})
	for began := time.Now(); ; {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
			return s
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("sshd does not listen: %v\n%s", err, said.String())
		}
		time.Sleep(20 * time.Millisecond) // it tells nobody when it listens
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeKey(t *testing.T, file string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, string(pem.EncodeToMemory(block)))
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer.PublicKey()
}
