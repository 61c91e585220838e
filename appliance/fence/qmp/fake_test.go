package qmp

import (
	"bufio"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is a QMP server for one connection after another: it greets with the first text, and answers a command with the
// text behind its name. hang keeps the connection open without a word.
type answers map[string]string

const (
	greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`
	hang     = "hang"
)

func (a answers) serve(t *testing.T) *Machine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			a.talk(c)
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	m, err := New(map[string]string{"address": path})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (a answers) talk(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	if a["greeting"] != hang {
		c.Write([]byte(a["greeting"] + "\n"))
	}
	for lines.Scan() {
		for command, answer := range a {
			if strings.Contains(lines.Text(), `"`+command+`"`) && answer != hang {
				_, id, _ := strings.Cut(lines.Text(), `"id": `)
				c.Write([]byte(strings.ReplaceAll(answer, "ID", strings.TrimSuffix(id, "}")) + "\n"))
			}
		}
	}
}

const done = `{"return": {}, "id": ID}`

// good is what QEMU says, with one answer replaced.
func good(replaced ...string) answers {
	a := answers{
		"greeting": greeting, "qmp_capabilities": done, "stop": done, "quit": done, "query-name": `{"return": {"name": "head2"}, "id": ID}`,
		"query-status": `{"return": {"status": "running", "singlestep": false, "running": true}, "id": ID}`,
	}
	for i := 0; i < len(replaced); i += 2 {
		a[replaced[i]] = replaced[i+1]
	}
	return a
}

func status(running, state string) string {
	return `{"return": {"status": "` + state + `", "running": ` + running + `}, "id": ID}`
}

func TestOn(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers answers
		want    string // on, off, or a part of the error
	}{
		{"running", good(), "on"},
		{"paused", good("query-status", status("false", "paused")), "off"},
		{"shutdown", good("query-status", status("false", "shutdown")), "off"},
		{"prelaunch", good("query-status", status("false", "prelaunch")), "off"},
		{"panicked", good("query-status", status("false", "guest-panicked")), "off"},
		{"migrated away", good("query-status", status("false", "postmigrate")), "postmigrate: the guest may go on"},
		{"coming in", good("query-status", status("false", "inmigrate")), "inmigrate: the guest may go on"},
		{"suspended to memory", good("query-status", status("false", "suspended")), "suspended: the guest may go on"},
		{"being saved", good("query-status", status("false", "save-vm")), "save-vm: the guest may go on"},
		{"a state of tomorrow", good("query-status", status("false", "floating")), "floating: the guest may go on"},
		{"events between", good("query-status", `{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}`+"\n"+status("false", "paused")), "off"},
		{"the answer to something else", good("query-status", `{"return": {"status": "paused", "running": false}, "id": 999}`+"\n"+status("true", "running")), "on"},
		{"no status", good("query-status", `{"return": {}, "id": ID}`), "has no status"},
		{"no running", good("query-status", `{"return": {"status": "paused"}, "id": ID}`), "has no status"},
		{"empty", good("query-status", `{"id": ID}`), "neither a result nor an error"},
		{"refused", good("query-status", `{"error": {"class": "GenericError", "desc": "no"}, "id": ID}`), "GenericError: no"},
		{"refused without id", good("query-status", `{"error": {"class": "GenericError", "desc": "JSON parse error"}}`), "JSON parse error"},
		{"garbage", good("query-status", "\x00\x01\x02"), "invalid character"},
		{"silent", good("query-status", hang), "deadline exceeded"},
		{"not QMP", answers{"greeting": "SSH-2.0-OpenSSH_9.2p1"}, "QMP greeting"},
		{"other JSON", answers{"greeting": `{"hello": 1}`}, "this is not QMP"},
		{"taken by another client", answers{"greeting": hang}, "deadline exceeded"},
		{"endless", good("query-status", strings.Repeat("x", maxLine+10)), "too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := test.answers.serve(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			on, err := m.On(ctx)
			got := map[bool]string{true: "on", false: "off"}[on]
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) || (err == nil) != (got == test.want) || err != nil && on {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	for _, address := range []string{nobody, filepath.Join(t.TempDir(), "none")} {
		m, err := New(map[string]string{"address": address})
		if err != nil {
			t.Fatal(err)
		}
		if on, err := m.On(t.Context()); err == nil {
			t.Errorf("%s: on %v without an error", address, on)
		}
		if err := m.Off(t.Context()); err == nil {
			t.Errorf("%s: off without an error", address)
		}
	}
}

func TestOffNeedsAnAnswer(t *testing.T) {
	for name, a := range map[string]answers{
		"refused": good("stop", `{"error": {"class": "GenericError", "desc": "no"}, "id": ID}`),
		"hangs":   good("stop", hang),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := a.serve(t).Off(ctx); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := good().serve(t).Off(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOtherMachine: two machines that have changed places are not stopped.
func TestOtherMachine(t *testing.T) {
	m := good().serve(t)
	m.name = "head1"
	if err := m.Off(t.Context()); err == nil || !strings.Contains(err.Error(), `is "head2", not "head1"`) {
		t.Error(err)
	}
	m.name = "head2"
	if err := m.Off(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCancelled(t *testing.T) {
	m := good("stop", hang).serve(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("needed elsewhere")
	cancel(why)
	if err := m.Off(ctx); err == nil {
		t.Error("no error")
	}
}

func TestNew(t *testing.T) {
	for _, test := range []struct {
		params           map[string]string
		network, address string
		fault            string
	}{
		{map[string]string{"address": "/run/vm.qmp"}, "unix", "/run/vm.qmp", ""},
		{map[string]string{"address": "unix:/run/vm.qmp"}, "unix", "/run/vm.qmp", ""},
		{map[string]string{"ip": "10.0.0.1:4444", "port": "head2"}, "tcp", "10.0.0.1:4444", ""},
		{map[string]string{"address": "tcp:[fd00::1]:4444"}, "tcp", "[fd00::1]:4444", ""},
		{map[string]string{"address": "10.0.0.1"}, "", "", "HOST:PORT"},
		{map[string]string{}, "", "", "address: is missing"},
		{map[string]string{"address": "/x", "adress": "y"}, "", "", "parameter adress: is not known"},
		{map[string]string{"address": "/x", "quit": "maybe"}, "", "", "must be yes or no"},
	} {
		m, err := New(test.params)
		if test.fault != "" {
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%v: %v, want %s", test.params, err, test.fault)
			}
			continue
		}
		if err != nil || m.network != test.network || m.address != test.address {
			t.Errorf("%v: %+v, %v", test.params, m, err)
		}
	}
}

// FuzzAnswers: whatever is at the other end, off is said only where the last line is a well-formed answer that says so.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(status("false", "paused")))
	f.Add([]byte(status("true", "running")))
	f.Add([]byte(`{"return": {"running": false, "status": "paused"}, "id": 1}`))
	f.Add([]byte(`{"return": [], "id": 1}` + "\n"))
	f.Add([]byte(`{"error": null, "return": null, "id": 1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, b := net.Pipe()
		go func() { bufio.NewReader(b).ReadBytes('\n'); b.Write(text); b.Close() }()
		defer a.Close()
		var s statusInfo
		if newConn(a).execute("query-status", &s) != nil {
			return
		}
		on, err := s.on()
		if err == nil && !on && (!strings.Contains(string(text), "false") || !standing[s.Status]) {
			t.Errorf("off out of %q", text)
		}
	})
}
