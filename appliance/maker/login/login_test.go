package login

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// someConfig is of a head with an empty state, where nobody is to be asked.
func someConfig(dir string, s *sshServer) Config {
	return Config{
		Host: s.addr, User: "root", Dir: dir,
		Password: func() (string, error) {
			return "", &hint{errors.New("nobody knows the password"), "--password-file FILE"}
		},
		Confirm: func(fingerprint string) error {
			return &hint{errors.New("nobody is there to confirm it"), "--host-key " + fingerprint}
		},
	}
}

// tryText is the hint that an error carries.
func tryText(err error) string {
	var t interface{ Try() string }
	if errors.As(err, &t) {
		return t.Try()
	}
	return ""
}

func TestLogin(t *testing.T) {
	s, dir := startSSH(t), filepath.Join(t.TempDir(), "maker")
	try := func(change func(*Config)) (*Server, error) {
		c := someConfig(dir, s)
		change(&c)
		server, err := Dial(t.Context(), c)
		if err == nil {
			t.Cleanup(server.Close)
		}
		return server, err
	}
	refused := func(name string, err error, what, next string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(tryText(err), next) {
			t.Errorf("%s: %v; try: %s", name, err, tryText(err))
		}
	}
	_, err := try(func(c *Config) { c.Identity = s.keyFile })
	refused("a host key that nobody knows", err, "nobody is there to confirm it", "--host-key "+s.fingerprint)
	_, err = try(func(c *Config) { c.Identity, c.HostKey = s.keyFile, "SHA256:another" })
	refused("another host key than was said", err, "its host key is "+s.fingerprint, "compare it")
	_, err = try(func(c *Config) { c.HostKey = s.fingerprint })
	refused("no key and no password", err, "log in to "+s.addr, "--password-file FILE")

	server, err := try(func(c *Config) { c.Identity, c.HostKey = s.keyFile, s.fingerprint })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := server.Authorize(); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := os.ReadFile(filepath.Join(s.home, ".ssh/authorized_keys"))
	if err != nil || strings.Count(string(keys), "\n") != 2 || !strings.Contains(string(keys), "masthead-master-maker") {
		t.Errorf("%v: authorized_keys:\n%s", err, keys)
	}
	for _, name := range []string{"id_ed25519", "known_hosts"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	// The second run is asked nothing.
	if _, err = try(func(*Config) {}); err != nil {
		t.Errorf("the second time: %v", err)
	}
	// The machine has another key now.
	another := writeKey(t, filepath.Join(t.TempDir(), "k"))
	k := knownHosts{file: filepath.Join(dir, "known_hosts")}
	writeFile(t, k.file, "")
	if err := k.learn(s.addr, another); err != nil {
		t.Fatal(err)
	}
	_, err = try(func(*Config) {})
	refused("a host key that has changed", err, "its host key has changed: it is "+s.fingerprint, FromConsole)
	if _, err = try(func(c *Config) { c.HostKey = s.fingerprint }); err != nil {
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
func TestProgram(t *testing.T) {
	s := startSSH(t)
	c := someConfig(t.TempDir(), s)
	c.Identity, c.HostKey = s.keyFile, s.fingerprint
	server, err := Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	writeFile(t, program, "#!/bin/sh\nif [ \"$2\" = kexec ]; then cat > \"$HOME/order\"; echo '"+KexecLoaded+"'; exit 0; fi\n"+
		"echo \"error: no such disk\" >&2; echo 'try: lsblk' >&2; exit 1\n")
	if err := server.CopyProgram(program); err != nil {
		t.Fatal(err)
	}
	_, err = server.Masthead("maker probe")
	if err == nil || err.Error() != "no such disk" || tryText(err) != "lsblk" {
		t.Errorf("a program that fails: %v; try: %s", err, tryText(err))
	}
	err = server.Kexec(Sized{strings.NewReader("KERNEL and more"), 6}, Sized{strings.NewReader("RAMFS"), 5}, "masthead.role=worker")
	order := string(must1(os.ReadFile(filepath.Join(s.home, "order"))))
	if want := `{"kernel":6,"initramfs":5,"cmdline":"masthead.role=worker"}` + "\nKERNELRAMFS"; err != nil || order != want {
		t.Errorf("%v: it was sent %q, want %q", err, order, want)
	}
	keys, err := server.HostKeys()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range keys {
		if !strings.HasPrefix(name, "ssh_host_") || len(data) == 0 {
			t.Errorf("host key %s of %d bytes", name, len(data))
		}
	}
	if got := server.Address(); got != "127.0.0.1" {
		t.Errorf("it was reached at %s", got)
	}
	server.Close()
	if _, err := os.Stat(server.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", server.dir, err)
	}
}

// A server that takes passwords gets the one that is said.
func TestPassword(t *testing.T) {
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
	c := someConfig(t.TempDir(), &sshServer{addr: listener.Addr().String()})
	c.HostKey = ssh.FingerprintSHA256(signer.PublicKey())
	for password, want := range map[string]bool{"wrong": false, "sesame": true} {
		c.Password = func() (string, error) { return password, nil }
		_, err := Dial(t.Context(), c)
		if served := <-got; (served == nil) != want || err == nil {
			t.Errorf("%s: let in: %v; %v", password, served, err)
		}
	}
}

// What takes the connection and says nothing is not waited for.
func TestLoginSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Dial(t.Context(), Config{Host: l.Addr().String(), User: "root", Dir: t.TempDir(), Patience: 100 * time.Millisecond})
	var next interface{ Try() string }
	if !errors.As(err, &next) || !strings.Contains(err.Error(), "timeout") || !strings.Contains(next.Try(), "console") {
		t.Errorf("%v", err)
	}
}
