package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"masthead/appliance/command"
	"masthead/images"
	"masthead/node/stages"
	"masthead/node/wire"
)

// authority makes the certificates of a cluster.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) digest() images.Digest { return images.DigestOf(a.cert.Raw) }

func (a authority) server(t testing.TB) *tls.Config {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.key}}}
}

// testServer is as much of a head as agents meet.
type testServer struct {
	*httptest.Server
	d       *command.Dispatcher
	reports atomic.Int32
	mine    atomic.Pointer[wire.Mine]
	stop    context.CancelFunc // ends the channels
	mu      sync.Mutex
	notes   []string
}

func newTestServer(t testing.TB, a authority, name string, list func() []wire.Head) *testServer {
	t.Helper()
	s := &testServer{d: command.New(command.Config{Head: name, Spool: t.TempDir(), Heads: func(string) []wire.Head { return list() }})}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathReport, func(w http.ResponseWriter, r *http.Request) {
		s.reports.Add(1)
		body, _ := io.ReadAll(r.Body)
		if _, rest, ok := strings.Cut(string(body), `"note":"`); ok {
			s.mu.Lock()
			s.notes = append(s.notes, rest)
			s.mu.Unlock()
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+wire.PathMine, func(w http.ResponseWriter, r *http.Request) {
		m := s.mine.Load()
		fmt.Fprintf(w, `{"name":%q,"heads":[{"name":%q,"url":%q}],"hosts":[{"name":"n02","address":"10.77.0.12"}],"ssh_keys":["ssh-ed25519 AAAA admin"]}`, m.Name, m.Heads[0].Name, m.Heads[0].URL)
	})
	mux.HandleFunc("GET "+wire.PathInput+"{id}", func(w http.ResponseWriter, r *http.Request) {
		in, err := s.d.Lent(r.PathValue("id"), "")
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		io.Copy(w, in.Reader())
	})
	mux.HandleFunc("GET "+wire.PathChannel, func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+wire.ChannelProtocol+"\r\n\r\n")
		f, err := wire.ReadFrame(buf, wire.MaxMachineFrame)
		if err != nil || f.Kind != wire.FrameAttach {
			t.Errorf("first frame %q, %v", f.Kind, err)
			return
		}
		_ = s.d.Attach(f.MAC, f.List, conn, buf)
	})
	s.Server = httptest.NewUnstartedServer(mux)
	s.TLS = a.server(t)
	s.StartTLS()
	t.Cleanup(s.die)
	return s
}

// die ends the head as a power cut does, but that its connections are reset.
func (s *testServer) die() {
	s.stop()
	s.CloseClientConnections()
	s.Close()
}

func (s *testServer) head(name string) wire.Head { return wire.Head{Name: name, URL: s.URL} }

// live runs an agent of the servers.
func live(t testing.TB, a authority, mac string, heads ...wire.Head) *Agent {
	t.Helper()
	cfg := Config{Role: images.RoleWorker, Boot: "b", MAC: mac, CA: a.digest(), Spec: wire.Spec{Token: "t", Heads: heads}}
	agent := New(cfg, &stages.Recorder{}, nil, slog.New(slog.DiscardHandler))
	dir := t.TempDir()
	agent.paths = paths{hosts: filepath.Join(dir, "hosts"), keys: filepath.Join(dir, "keys"), node: filepath.Join(dir, "node.json"), scripts: dir}
	agent.every = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		if err := agent.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return agent
}

// until waits for something that has no event of its own.
func until(t testing.TB, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !true(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 20 s until %s", what)
		}
	}
}

// ask runs a command on one node from head d, with other heads, and gives output and result.
func ask(t testing.TB, d *command.Dispatcher, peers []command.Peer, mac string, c wire.Command, input io.Reader) (string, wire.CommandResult, []string) {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 20
	}
	c.Output = 8 << 20
	in, err := d.TakeInput(input)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	targets := []wire.Target{{Name: "n01", MAC: mac}}
	var out bytes.Buffer
	var result wire.CommandResult
	var notes []string
	err = d.RunAll(t.Context(), d.Find(t.Context(), targets, peers), c, in, 64, func(e wire.CommandEvent) error {
		out.Write(e.Stdout)
		if e.Note != "" {
			notes = append(notes, e.Note)
		}
		if e.Done != nil {
			result = *e.Done
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), result, notes
}

const mac1 = "52:54:00:77:00:0a"

// peer reaches another head's dispatcher, while it lives.
func peer(name string, s *testServer) command.Peer {
	return command.Peer{
		Name: name,
		Attached: func(ctx context.Context, macs []string) (map[string]time.Duration, error) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "https://"))
			if err != nil {
				return nil, err
			}
			return s.d.Attached(macs), conn.Close()
		},
		Run: func(ctx context.Context, req wire.PeerRequest, input io.Reader, emit command.Emit) error {
			in, err := s.d.TakeInput(input)
			if err != nil {
				return err
			}
			defer in.Close()
			return s.d.Run(ctx, req.Targets, req.Command, in, req.Fanout, emit)
		},
	}
}

// Two heads, one agent: commands reach it through either; its parent dies, and it goes to the other by itself.
func TestAgentAndHeads(t *testing.T) {
	ca := newAuthority(t)
	var list []wire.Head
	s1, s2 := newTestServer(t, ca, "h1", func() []wire.Head { return list }), newTestServer(t, ca, "h2", func() []wire.Head { return list })
	list = []wire.Head{s1.head("h1"), s2.head("h2")}
	a := live(t, ca, mac1, list...)
	until(t, "it is attached to h1", func() bool { return s1.d.Count() == 1 })

	out, r, _ := ask(t, s1.d, nil, mac1, wire.Command{Kind: wire.CommandExec, Shell: "echo hi; cat"}, strings.NewReader("input"))
	if out != "hi\ninput" || r.Failed() || r.Head != "h1" {
		t.Errorf("from its parent: %q, %+v", out, r)
	}
	out, r, _ = ask(t, s2.d, []command.Peer{peer("h1", s1)}, mac1, wire.Command{Kind: wire.CommandExec, Shell: "echo hi"}, nil)
	if out != "hi\n" || r.Failed() || r.Head != "h1" {
		t.Errorf("from the other head: %q, %+v", out, r)
	}
	large := bytes.Repeat([]byte("0123456789abcde\n"), 200<<10) // 3.2 MB: fetched, and more than a window comes back
	out, r, _ = ask(t, s1.d, nil, mac1, wire.Command{Kind: wire.CommandExec, Argv: []string{"cat"}}, bytes.NewReader(large))
	if out != string(large) || r.Failed() {
		t.Errorf("a large input: %d bytes of %d, %+v", len(out), len(large), r)
	}

	s1.die()
	until(t, "it is attached to h2", func() bool { return s2.d.Count() == 1 })
	until(t, "it reports to h2", func() bool { return s2.reports.Load() > 1 })
	out, r, notes := ask(t, s2.d, []command.Peer{peer("h1", s1)}, mac1, wire.Command{Kind: wire.CommandExec, Shell: "echo there"}, nil)
	if out != "there\n" || r.Head != "h2" || len(notes) != 0 {
		t.Errorf("after the death of its parent: %q, %+v, %v", out, r, notes)
	}
	_, r, notes = ask(t, s2.d, []command.Peer{peer("h1", s1)}, "52:54:00:77:00:0b", wire.Command{Kind: wire.CommandExec, Shell: "echo"}, nil)
	if !strings.Contains(r.Error, "no head that answers reaches it") || len(notes) != 1 || !strings.Contains(notes[0], "head h1 does not answer") {
		t.Errorf("a node that nobody knows: %+v, %v", r, notes)
	}
	s2.mu.Lock()
	if len(s2.notes) != 1 || !strings.HasPrefix(s2.notes[0], "reports to h2 now, no longer to h1") {
		t.Errorf("h2 was told %q", s2.notes)
	}
	s2.mu.Unlock()
	until(t, "the hosts file names h2", func() bool {
		data, _ := os.ReadFile(a.paths.hosts)
		return strings.Contains(string(data), "127.0.0.1\t"+ParentName)
	})
}

// A new list of heads comes by the channel, at once when a machine attaches.
func TestListComesByTheChannel(t *testing.T) {
	ca := newAuthority(t)
	var list []wire.Head
	s1, s2 := newTestServer(t, ca, "h1", func() []wire.Head { return list }), newTestServer(t, ca, "h2", func() []wire.Head { return list })
	list = []wire.Head{s2.head("h2"), s1.head("h1")} // the administrator has moved it
	live(t, ca, mac1, s1.head("h1"))
	until(t, "it is attached to h2 alone", func() bool { return s2.d.Count() == 1 && s1.d.Count() == 0 })
}

func TestCommandsOfAnAgent(t *testing.T) {
	ca := newAuthority(t)
	s := newTestServer(t, ca, "h1", func() []wire.Head { return nil })
	s.mine.Store(&wire.Mine{Name: "n01", Heads: []wire.Head{s.head("h1")}})
	a := live(t, ca, mac1, s.head("h1"))
	until(t, "it is attached", func() bool { return s.d.Count() == 1 })
	if err := os.WriteFile(a.paths.keys, []byte("ssh-rsa BBBB image\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ task, want, file, content string }{
		{wire.TaskFetchHosts, "heads: h1\n" + a.paths.hosts + ": 2 names, changed\n", a.paths.hosts, "10.77.0.12\tn02\n"},
		{wire.TaskFetchHosts, "heads: h1\n" + a.paths.hosts + ": 2 names, as before\n", a.paths.hosts, ParentName},
		{wire.TaskUpdateKeys, a.paths.keys + ": 1 key from the head, changed\n", a.paths.keys, "ssh-rsa BBBB image\nssh-ed25519 AAAA admin\n"},
	} {
		out, r, _ := ask(t, s.d, nil, mac1, wire.Command{Kind: wire.CommandTask, Task: tc.task}, nil)
		data, err := os.ReadFile(tc.file)
		if out != tc.want || r.Failed() || err != nil || !strings.Contains(string(data), tc.content) {
			t.Errorf("%s: %q, %+v, %v\n%s", tc.task, out, r, err, data)
		}
	}

	dest := t.TempDir()
	var archive bytes.Buffer
	writeTar(t, &archive, "big", 2<<20)
	whole := archive.Bytes()
	out, r, _ := ask(t, s.d, nil, mac1, wire.Command{Kind: wire.CommandCopy, Dest: dest}, bytes.NewReader(whole))
	if st, err := os.Stat(filepath.Join(dest, "big")); r.Failed() || err != nil || st.Size() != 2<<20 || !strings.HasPrefix(out, "copied 1 file, 2097152 bytes") {
		t.Errorf("copy: %q, %+v, %v", out, r, err)
	}
	_, r, _ = ask(t, s.d, nil, mac1, wire.Command{Kind: wire.CommandCopy, Dest: dest}, bytes.NewReader(whole[:1<<20]))
	if !strings.Contains(r.Error, "unexpected EOF") {
		t.Errorf("half an archive: %+v", r)
	}
	_, r, _ = ask(t, s.d, nil, mac1, wire.Command{Kind: wire.CommandExec, Shell: "sleep 60", Timeout: 0.2}, nil)
	if r.Error != "not done after 200ms, and killed" {
		t.Errorf("timeout: %+v", r)
	}
}

// What an administrator breaks off is dead at once on the node.
func TestCancelKills(t *testing.T) {
	ca := newAuthority(t)
	s := newTestServer(t, ca, "h1", func() []wire.Head { return nil })
	live(t, ca, mac1, s.head("h1"))
	until(t, "it is attached", func() bool { return s.d.Count() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pid string
	c := wire.Command{Kind: wire.CommandExec, Shell: "echo $$; exec sleep 100", Timeout: 100, Output: 1 << 20}
	err := s.d.Run(ctx, []wire.Target{{Name: "n01", MAC: mac1}}, c, nil, 1, func(e wire.CommandEvent) error {
		pid += string(e.Stdout)
		cancel()
		return nil
	})
	if err == nil || pid == "" {
		t.Fatalf("%v, pid %q", err, pid)
	}
	until(t, "the process is dead", func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(pid))
		return err != nil
	})
}

// A head that goes away does not end what it has begun.
func TestCommandOutlivesItsHead(t *testing.T) {
	ca := newAuthority(t)
	s := newTestServer(t, ca, "h1", func() []wire.Head { return nil })
	live(t, ca, mac1, s.head("h1"))
	until(t, "it is attached", func() bool { return s.d.Count() == 1 })
	file := filepath.Join(t.TempDir(), "done")
	got := make(chan wire.CommandResult, 1)
	go func() {
		_ = s.d.Run(t.Context(), []wire.Target{{Name: "n01", MAC: mac1}},
			wire.Command{Kind: wire.CommandExec, Shell: "echo begun; sleep 0.5; head -c 1000000 /dev/zero; touch " + file, Timeout: 20, Output: 1 << 20}, nil, 1,
			func(e wire.CommandEvent) error {
				if e.Done != nil {
					got <- *e.Done
				} else {
					s.stop()
				}
				return nil
			})
	}()
	if r := <-got; !strings.Contains(r.Error, "was lost; the command may go on") {
		t.Errorf("%+v", r)
	}
	until(t, "it has ended by itself", func() bool { _, err := os.Stat(file); return err == nil })
}
