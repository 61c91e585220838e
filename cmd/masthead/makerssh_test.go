package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"masthead/appliance/maker"
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
	writeFile(t, config, fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"+
		"PasswordAuthentication yes\nAuthorizedKeysFile %s/.ssh/authorized_keys\nSetEnv HOME=%s\n", port, hostKey, s.home, s.home))
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

// someMaking is a run on a head with an empty state, for a server behind SSH.
func someMaking(dir string, s *sshServer) *making {
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, output: "text"}
	return &making{app: a, dir: dir, show: newMakerShow(a), f: makerFlags{user: "root", wishes: maker.Wishes{Host: s.addr}}}
}

func TestSSHLogin(t *testing.T) {
	s, dir := startSSH(t), t.TempDir()
	try := func(change func(*makerFlags)) (*sshTarget, *making, error) {
		m := someMaking(dir, s)
		change(&m.f)
		target, err := m.dial(t.Context())
		if err == nil {
			t.Cleanup(func() { target.client.Close() })
		}
		return target, m, err
	}
	refused := func(name string, err error, what, next string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(tryText(err), next) {
			t.Errorf("%s: %v; try: %s", name, err, tryText(err))
		}
	}
	_, _, err := try(func(f *makerFlags) { f.identity = s.keyFile })
	refused("a host key that nobody knows", err, "nobody is there to confirm it", "--host-key "+s.fingerprint)
	_, _, err = try(func(f *makerFlags) { f.identity, f.hostKey = s.keyFile, "SHA256:another" })
	refused("another host key than was said", err, "its host key is "+s.fingerprint, "compare it")
	_, _, err = try(func(f *makerFlags) { f.hostKey = s.fingerprint })
	refused("no key and no password", err, "log in to "+s.addr, "--password-file FILE")

	target, m, err := try(func(f *makerFlags) { f.identity, f.hostKey = s.keyFile, s.fingerprint })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := target.authorize(m.sshKey); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := os.ReadFile(filepath.Join(s.home, ".ssh/authorized_keys"))
	if err != nil || strings.Count(string(keys), "\n") != 2 || !strings.Contains(string(keys), "masthead-master-maker") {
		t.Errorf("%v: authorized_keys:\n%s", err, keys)
	}
	for _, name := range []string{"id_ed25519", "known_hosts"} {
		if st, err := os.Stat(m.file(name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	// The second run is asked nothing.
	if _, _, err = try(func(*makerFlags) {}); err != nil {
		t.Errorf("the second time: %v", err)
	}
	// The machine has another key now.
	another := writeKey(t, filepath.Join(t.TempDir(), "k"))
	k := knownHosts{file: m.file("known_hosts")}
	writeFile(t, k.file, "")
	if err := k.learn(s.addr, another); err != nil {
		t.Fatal(err)
	}
	_, _, err = try(func(*makerFlags) {})
	refused("a host key that has changed", err, "its host key has changed", "--host-key "+s.fingerprint)
	if _, _, err = try(func(f *makerFlags) { f.hostKey = s.fingerprint }); err != nil {
		t.Errorf("after it was compared: %v", err)
	}
	if text := string(must1(os.ReadFile(k.file))); strings.Count(text, "\n") != 1 {
		t.Errorf("known hosts:\n%s", text)
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What is copied can be run, prints, takes input, and fails with its own words.
func TestSSHProgram(t *testing.T) {
	s, dir := startSSH(t), t.TempDir()
	m := someMaking(dir, s)
	m.f.identity, m.f.hostKey = s.keyFile, s.fingerprint
	target, err := m.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.remoteHost = target
	program := filepath.Join(t.TempDir(), "program")
	writeFile(t, program, "#!/bin/sh\nif [ \"$2\" = kexec ]; then read -r head; echo \"$head\" > \"$HOME/order\"; cat > \"$HOME/files\"; echo '"+kexecLoaded+"'; exit 0; fi\n"+
		"echo \"error: no such disk\" >&2; echo 'try: lsblk' >&2; exit 1\n")
	if err := target.copyProgram(program); err != nil {
		t.Fatal(err)
	}
	_, err = target.output(target.dir + "/masthead maker probe")
	if err == nil || err.Error() != "no such disk" || tryText(err) != "lsblk" {
		t.Errorf("a program that fails: %v; try: %s", err, tryText(err))
	}
	err = target.kexec(sizedReader{strings.NewReader("KERNEL and more"), 6}, sizedReader{strings.NewReader("RAMFS"), 5}, "masthead.role=worker")
	order, files := string(must1(os.ReadFile(filepath.Join(s.home, "order")))), string(must1(os.ReadFile(filepath.Join(s.home, "files"))))
	if err != nil || order != `{"kernel":6,"initramfs":5,"cmdline":"masthead.role=worker"}`+"\n" || files != "KERNELRAMFS" {
		t.Errorf("%v: %s: %s", err, order, files)
	}
	keys, err := target.hostKeys()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range keys {
		if !strings.HasPrefix(name, "ssh_host_") || len(data) == 0 {
			t.Errorf("host key %s of %d bytes", name, len(data))
		}
	}
	if err := m.logout(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(target.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", target.dir, err)
	}
}

// A server that takes passwords gets the one in the file.
func TestSSHPassword(t *testing.T) {
	config := &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if string(password) != "sesame" {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	got := make(chan error, 2)
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			server, chans, reqs, err := ssh.NewServerConn(conn, config)
			got <- err
			if err != nil {
				conn.Close()
				continue
			}
			go ssh.DiscardRequests(reqs)
			go func() {
				for c := range chans {
					_ = c.Reject(ssh.Prohibited, "this server takes a password, and no more")
				}
			}()
			defer server.Close()
		}
	}()
	m := someMaking(t.TempDir(), &sshServer{addr: listener.Addr().String()})
	m.f.hostKey = ssh.FingerprintSHA256(signer.PublicKey())
	m.f.passwordFile = filepath.Join(t.TempDir(), "password")
	for password, want := range map[string]bool{"wrong": false, "sesame": true} {
		writeFile(t, m.f.passwordFile, password+"\n")
		_, err := m.dial(t.Context())
		if served := <-got; (served == nil) != want || err == nil {
			t.Errorf("%s: let in: %v; %v", password, served, err)
		}
	}
}
