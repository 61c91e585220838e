package monitor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/failover"
	"masthead/vmtest/prerequisite"
)

func check(t *testing.T, m Monitor, timeout time.Duration) Result {
	t.Helper()
	m.Name = "m"
	if errs := Check([]Monitor{m}, nil); errs != nil {
		t.Fatal(errs)
	}
	return timed(t.Context(), probeOf(m, nil), timeout)
}

func wantResult(t *testing.T, got Result, reading failover.Reading, summary string) {
	t.Helper()
	if got.Reading != reading || got.Summary != summary {
		t.Errorf("%s %q (detail %q), want %s %q", got.Reading, got.Summary, got.Detail, reading, summary)
	}
}

func listen(t *testing.T, serve func(net.Conn)) (port uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// closedPort is one where nobody listens.
func closedPort(t *testing.T) uint16 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestTCP(t *testing.T) {
	greets := listen(t, func(c net.Conn) { io.WriteString(c, "220 mail.example.com\r\n") })
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	closed := closedPort(t)
	local := []string{"127.0.0.1"}
	for _, tt := range []struct {
		name    string
		m       Monitor
		reading failover.Reading
		summary string
	}{
		{"open", Monitor{Hosts: local, TCP: &TCP{Port: greets}}, failover.Up, ""},
		{"no host", Monitor{TCP: &TCP{Port: greets}}, failover.Up, ""},
		{"closed", Monitor{Hosts: local, TCP: &TCP{Port: closed}}, failover.Down, fmt.Sprintf("127.0.0.1: tcp port %d: connection refused", closed)},
		{"expected", Monitor{Hosts: local, TCP: &TCP{Port: greets, Expect: "^220 "}}, failover.Up, ""},
		{"not expected", Monitor{Hosts: local, TCP: &TCP{Port: greets, Expect: "^221 "}}, failover.Down, fmt.Sprintf("127.0.0.1: tcp port %d: the answer is not %q", greets, "^221 ")},
		{"silent", Monitor{Hosts: local, TCP: &TCP{Port: silent, Send: "hello", Expect: "x"}}, failover.Down, fmt.Sprintf("127.0.0.1: tcp port %d: waiting for %q: no answer in time", silent, "x")},
		{"no such name", Monitor{Hosts: []string{"no-such-host.invalid"}, TCP: &TCP{Port: 1}}, failover.Unknown, "no-such-host.invalid: tcp port 1: the name no-such-host.invalid cannot be resolved"},
		{"one of two", Monitor{Hosts: []string{"127.0.0.1", "127.0.0.2"}, TCP: &TCP{Port: greets}}, failover.Down, fmt.Sprintf("127.0.0.2: tcp port %d: connection refused", greets)},
		{"any of two", Monitor{AnyHost: true, Hosts: []string{"127.0.0.1", "127.0.0.2"}, TCP: &TCP{Port: greets}}, failover.Up, ""},
		{"none of two", Monitor{AnyHost: true, Hosts: []string{"127.0.0.1", "127.0.0.2"}, TCP: &TCP{Port: closed}}, failover.Down, fmt.Sprintf("127.0.0.1 127.0.0.2: tcp port %d: connection refused", closed)},
		{"any, one unknown", Monitor{AnyHost: true, Hosts: []string{"127.0.0.1", "no.invalid"}, TCP: &TCP{Port: closed}}, failover.Unknown, fmt.Sprintf("127.0.0.1 no.invalid: tcp port %d: the name no.invalid cannot be resolved", closed)},
		{"all, one unknown", Monitor{Hosts: []string{"127.0.0.1", "no.invalid"}, TCP: &TCP{Port: greets}}, failover.Unknown, fmt.Sprintf("no.invalid: tcp port %d: the name no.invalid cannot be resolved", greets)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantResult(t, check(t, tt.m, 700*time.Millisecond), tt.reading, tt.summary)
		})
	}
}

func TestHTTP(t *testing.T) {
	hang := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "welcome to %s", r.Host) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) { <-hang })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	defer close(hang)
	_, port, _ := net.SplitHostPort(plain.Listener.Addr().String())
	named := "http://www.example.com:" + port + "/ok"
	for _, tt := range []struct {
		name    string
		hosts   []string
		h       HTTP
		reading failover.Reading
		summary string
	}{
		{"page", nil, HTTP{URL: plain.URL + "/ok", Match: "^welcome"}, failover.Up, ""},
		{"no match", nil, HTTP{URL: plain.URL + "/ok", Match: "goodbye"}, failover.Down, "http " + plain.URL + "/ok: the page does not contain \"goodbye\""},
		{"redirection", nil, HTTP{URL: plain.URL + "/moved"}, failover.Up, ""},
		{"status", nil, HTTP{URL: plain.URL + "/moved", Status: []int{200}}, failover.Down, "http " + plain.URL + "/moved: status 302 Found"},
		{"error", nil, HTTP{URL: plain.URL + "/broken"}, failover.Down, "http " + plain.URL + "/broken: status 503 Service Unavailable"},
		{"error is wanted", nil, HTTP{URL: plain.URL + "/broken", Status: []int{503}}, failover.Up, ""},
		{"hangs", nil, HTTP{URL: plain.URL + "/hang"}, failover.Down, "http " + plain.URL + "/hang: no answer in time"},
		{"unknown certificate", nil, HTTP{URL: secure.URL + "/ok"}, failover.Down, "http " + secure.URL + `/ok: Get "` + secure.URL + `/ok": tls: failed to verify certificate: x509: certificate signed by unknown authority`},
		{"any certificate", nil, HTTP{URL: secure.URL + "/ok", Insecure: true}, failover.Up, ""},
		{"of a host", []string{"127.0.0.1"}, HTTP{URL: named, Match: "^welcome to www.example.com"}, failover.Up, ""},
		{"of a closed host", []string{"127.0.0.3"}, HTTP{URL: named}, failover.Down, "127.0.0.3: http " + named + ": connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantResult(t, check(t, Monitor{Hosts: tt.hosts, HTTP: &tt.h}, 700*time.Millisecond), tt.reading, tt.summary)
		})
	}
}

func TestProcess(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "mysqld-of-a-long-name")
	sleep := prerequisite.Program(t, "sleep")
	if err := os.Symlink(sleep, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			cmd.Process.Kill()
		}
	}
	defer cmd.Wait()
	defer kill()
	pidfile := filepath.Join(dir, "mysqld.pid")
	write := func(text string) string {
		if err := os.WriteFile(pidfile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return pidfile
	}
	name := filepath.Base(program)
	// The kernel closes the pipe by which Start learns that all is well before it gives the process its new name (fs/exec.c).
	for !runs(cmd.Process.Pid, name) {
		runtime.Gosched()
	}
	wantResult(t, check(t, Monitor{Process: &Process{Name: name}}, time.Second), failover.Up, "")
	wantResult(t, check(t, Monitor{Process: &Process{Name: name, Min: 2}}, time.Second), failover.Down, "of process "+name+" there are fewer than 2")
	wantResult(t, check(t, Monitor{Process: &Process{Name: "no-such-daemon"}}, time.Second), failover.Down, "process no-such-daemon does not run")
	wantResult(t, check(t, Monitor{Process: &Process{Pidfile: pidfile}}, time.Second), failover.Down, "process of "+pidfile+": there is no such file")
	write(strconv.Itoa(cmd.Process.Pid) + "\nmore lines\n")
	wantResult(t, check(t, Monitor{Process: &Process{Pidfile: pidfile}}, time.Second), failover.Up, "")
	wantResult(t, check(t, Monitor{Process: &Process{Pidfile: pidfile, Name: name}}, time.Second), failover.Up, "")
	wantResult(t, check(t, Monitor{Process: &Process{Pidfile: pidfile, Name: "mysqld"}}, time.Second), failover.Down, "process of "+pidfile+" is another program than mysqld")
	write("soon\n")
	wantResult(t, check(t, Monitor{Process: &Process{Pidfile: pidfile}}, time.Second), failover.Unknown, "process of "+pidfile+": the file holds no process id")
	// A zombie has not been waited for, but does not run.
	kill()
	write(strconv.Itoa(cmd.Process.Pid))
	for alive(cmd.Process.Pid) {
		runtime.Gosched()
	}
	wantResult(t, check(t, Monitor{Process: &Process{Pidfile: pidfile}}, time.Second), failover.Down, "process of "+pidfile+" does not run")
	wantResult(t, check(t, Monitor{Process: &Process{Name: name}}, time.Second), failover.Down, "process "+name+" does not run")
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script, "sh"} }

func TestScript(t *testing.T) {
	for _, tt := range []struct {
		name    string
		s       Script
		reading failover.Reading
		code    int
		summary string
		detail  string
	}{
		{"up", Script{Command: sh("echo fine")}, failover.Up, 0, "fine", ""},
		{"down", Script{Command: sh("echo $1 $2 is down; echo and more >&2; exit 1")}, failover.Down, 1, "a b is down", "and more"},
		{"no hosts", Script{Command: sh("echo none: $1; exit 1"), NoHosts: true}, failover.Down, 1, "none:", ""},
		{"silent", Script{Command: sh("exit 1")}, failover.Down, 1, "/bin/sh says so, and no more", ""},
		{"another status", Script{Command: sh("exit 3")}, failover.Unknown, 3, "/bin/sh says so, and no more", ""},
		{"another status of mon", Script{Command: sh("echo 3 hosts; exit 3"), Mon: true}, failover.Down, 3, "3 hosts", ""},
		{"its program is missing", Script{Command: sh("no-such-program"), Mon: true}, failover.Unknown, 127, "sh: 1: no-such-program: not found", ""},
		{"missing", Script{Command: []string{"/no/such/script"}}, failover.Unknown, 3, "/no/such/script: /no/such/script is not here", ""},
		{"killed", Script{Command: sh("echo dying; kill -9 $$")}, failover.Unknown, 3, "/bin/sh: it was ended by signal: killed", "dying"},
		{"hangs", Script{Command: sh("echo begun; sleep 60 & wait"), Mon: true}, failover.Unknown, 3, "/bin/sh: it did not end in time", "begun"},
		{"leaves a child", Script{Command: sh("sleep 1.5 & echo fine")}, failover.Up, 0, "fine", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			got := check(t, Monitor{Hosts: []string{"a", "b"}, Script: &tt.s, Env: map[string]string{"LC_ALL": "C"}}, 1200*time.Millisecond)
			want := Result{Reading: tt.reading, Code: tt.code, Summary: tt.summary, Detail: tt.detail}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestProgramIsKilledWhole: what a plugin that hangs has started goes with it, and memory pressure does not spare it.
func TestProgramIsKilledWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	got := check(t, Monitor{Script: &Script{Command: sh("sleep 60 & echo $! > " + file + "; cat /proc/self/oom_score_adj; wait")}}, time.Second)
	if got.Reading != failover.Unknown || got.Detail != "0" {
		t.Errorf("%+v", got)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); alive(pid); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("process %d, started by the script, still runs", pid)
		}
	}
}

const plugins = "/usr/lib/nagios/plugins/"

func TestNagiosPlugins(t *testing.T) {
	_, err := os.Stat(plugins + "check_tcp")
	prerequisite.Have(t, err == nil, "monitoring-plugins-basic")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	closed := strconv.Itoa(int(closedPort(t)))
	local := []string{"127.0.0.1"}
	for _, tt := range []struct {
		name    string
		p       Plugin
		reading failover.Reading
		code    int
		prefix  string
	}{
		{"check_tcp", Plugin{Command: []string{plugins + "check_tcp", "-H", "$HOST", "-p", port}}, failover.Up, 0, "TCP OK - "},
		{"check_tcp closed", Plugin{Command: []string{plugins + "check_tcp", "-H", "$HOST", "-p", closed}}, failover.Down, 2, "127.0.0.1: connect to address 127.0.0.1 and port " + closed + ": Connection refused"},
		{"check_http", Plugin{Command: []string{plugins + "check_http", "-I", "$HOST", "-p", port}}, failover.Up, 0, "HTTP OK: HTTP/1.0 200 OK"},
		{"check_http warns", Plugin{Command: []string{plugins + "check_http", "-I", "$HOST", "-p", port, "-w", "0.0000001"}}, failover.Up, 1, "HTTP WARNING: HTTP/1.0 200 OK"},
		{"check_http warns, which is down", Plugin{WarningDown: true, Command: []string{plugins + "check_http", "-I", "$HOST", "-p", port, "-w", "0.0000001"}}, failover.Down, 1, "127.0.0.1: HTTP WARNING: HTTP/1.0 200 OK"},
		{"check_http string", Plugin{Command: []string{plugins + "check_http", "-I", "$HOST", "-p", port, "-s", "goodbye"}}, failover.Down, 2, "127.0.0.1: HTTP CRITICAL: HTTP/1.0 200 OK - string 'goodbye' not found"},
		{"check_dummy unknown", Plugin{Command: []string{plugins + "check_dummy", "3", "never"}}, failover.Unknown, 3, "127.0.0.1: UNKNOWN: never"},
		{"check_tcp usage", Plugin{Command: []string{plugins + "check_tcp"}}, failover.Unknown, 3, "127.0.0.1: "},
		{"check_procs", Plugin{Command: []string{plugins + "check_procs", "-c", "1:"}}, failover.Up, 0, "PROCS OK: "},
		{"missing", Plugin{Command: []string{plugins + "check_no_such"}}, failover.Unknown, 3, "127.0.0.1: " + plugins + "check_no_such: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := check(t, Monitor{Hosts: local, Plugin: &tt.p}, 10*time.Second)
			if got.Reading != tt.reading || got.Code != tt.code || !strings.HasPrefix(got.Summary, tt.prefix) || strings.Contains(got.Summary, "|") {
				t.Errorf("%s %d %q, want %s %d %q", got.Reading, got.Code, got.Summary, tt.reading, tt.code, tt.prefix)
			}
		})
	}
}

func TestPluginOutput(t *testing.T) {
	// The example of the Nagios plugin API.
	got := plain("DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);\n/var/log 819 MB (84%); | /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n")
	want := "DISK OK - free space: / 3326 MB (56%);\n/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);\n/var/log 819 MB (84%);"
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestStoodStill: a failure of a check that overran its time by far is the machine's that checks.
func TestStoodStill(t *testing.T) {
	ask := func(context.Context) Result { time.Sleep(50 * time.Millisecond); return down("refused") }
	if got := timed(t.Context(), ask, time.Second); got.Reading != failover.Down {
		t.Errorf("in time: %+v", got)
	}
	if got := timed(t.Context(), ask, 40*time.Millisecond-still); got.Reading != failover.Unknown {
		t.Errorf("far too late: %+v", got)
	}
}
