package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

// head is a Set whose checks answer what a test says, under a fake clock.
type head struct {
	*Set
	t     *testing.T
	began time.Time

	mu       sync.Mutex
	owner    bool
	says     map[string]Result
	takes    map[string]time.Duration
	checks   []string // "10s name"
	events   []string
	failover []string
}

func newHead(t *testing.T, monitors ...Monitor) *head {
	h := &head{t: t, began: time.Now(), owner: true, says: map[string]Result{}, takes: map[string]time.Duration{}}
	set, err := New(h.config(monitors))
	if err != nil {
		t.Fatal(err)
	}
	h.Set = set
	h.fake()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- set.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return h
}

func (h *head) config(monitors []Monitor) Config {
	return Config{
		Monitors: monitors, Cluster: "c", Self: "head1", Epoch: func() string { return "7.1" },
		Owner:    func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.owner },
		Event:    func(text string, bad bool) { h.add(&h.events, text) },
		Failover: func(reason string) { h.add(&h.failover, reason) },
	}
}

func (h *head) add(list *[]string, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, fmt.Sprintf("%s %s", time.Since(h.began), text))
}

// fake replaces the questions that are not faked yet.
func (h *head) fake() {
	h.Set.mu.Lock()
	defer h.Set.mu.Unlock()
	for _, w := range h.watches {
		name := w.m.Name
		w.ask = func(ctx context.Context) Result {
			h.add(&h.checks, name)
			h.mu.Lock()
			takes := h.takes[name]
			h.mu.Unlock()
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if r, ok := h.says[name]; ok {
				return r
			}
			return up("fine")
		}
	}
}

func (h *head) set(f func()) {
	h.mu.Lock()
	f()
	h.mu.Unlock()
}

func (h *head) after(d time.Duration) {
	time.Sleep(d) // of the fake clock
	synctest.Wait()
}

func (h *head) want(what string, got *[]string, want ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if diff := cmp.Diff(want, *got); diff != "" {
		h.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	*got = nil
}

func tcpMonitor(name string, interval time.Duration, depends ...string) Monitor {
	return Monitor{Name: name, TCP: &TCP{Port: 1}, Interval: interval, Depends: depends, Periods: []Period{{Alerts: []Alert{{Failover: true}}, NumAlerts: 1}}}
}

func TestSetFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead(t, tcpMonitor("db:mysql", 10*time.Second))
		h.after(25 * time.Second)
		h.want("checks", &h.checks, "10s db:mysql", "20s db:mysql")
		h.set(func() { h.says["db:mysql"] = down("connection refused") })
		h.after(30 * time.Second)
		h.want("failover", &h.failover, "30s monitor db:mysql: connection refused")
		h.want("events", &h.events, "30s monitor db:mysql is down: connection refused", "30s monitor db:mysql: connection refused: this head asks another to take over")
		if got := h.Unhealthy(); got != "monitor db:mysql: connection refused" {
			t.Errorf("unhealthy: %q", got)
		}
		want := []wire.MonitorState{{Name: "db:mysql", State: "down", Since: h.began.Add(30 * time.Second), Checked: h.began.Add(50 * time.Second), Detail: "connection refused", Alerts: 1}}
		if diff := cmp.Diff(want, h.States()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// Another head owns: here nothing is checked, and this head does not count as well for a while.
		h.want("checks", &h.checks, "30s db:mysql", "40s db:mysql", "50s db:mysql")
		h.set(func() { h.owner = false })
		h.after(5 * time.Minute)
		h.want("checks", &h.checks)
		if st := h.States()[0]; st.State != "unknown" || st.Detail != "is checked on the owner" || h.Unhealthy() == "" {
			t.Errorf("%+v, unhealthy %q", st, h.Unhealthy())
		}
		h.after(5*time.Minute + time.Second)
		if got := h.Unhealthy(); got != "" {
			t.Errorf("unhealthy for ever: %q", got)
		}
		// It owns again: the first check is one interval later, when the services have had time to start.
		h.set(func() { h.owner, h.says["db:mysql"], h.checks = true, up("fine"), nil })
		h.Poke()
		from := time.Since(h.began)
		h.after(10 * time.Second)
		h.want("checks", &h.checks, fmt.Sprintf("%s db:mysql", from+10*time.Second))
	})
}

// TestSetUpIsWell: a monitor that is up again takes its wish back.
func TestSetUpIsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead(t, tcpMonitor("a", 10*time.Second))
		h.set(func() { h.says["a"] = down("x") })
		h.after(15 * time.Second)
		h.set(func() { h.says["a"] = up("fine") })
		h.after(10 * time.Second)
		if got := h.Unhealthy(); got != "" || len(h.failover) != 1 {
			t.Errorf("unhealthy %q after %v", got, h.failover)
		}
		h.want("events", &h.events, "10s monitor a is down: x", "10s monitor a: x: this head asks another to take over", "20s monitor a is up again, after 10s")
	})
}

// TestSetUnknownNeverFailsOver also for a long time; a person is told once.
func TestSetUnknownNeverFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead(t, tcpMonitor("a", 10*time.Second))
		h.set(func() { h.says["a"] = unknown("no such script") })
		h.after(10 * time.Minute)
		h.want("failover", &h.failover)
		h.want("events", &h.events, "30s monitor a cannot be checked: no such script")
		if h.Unhealthy() != "" || h.States()[0].State != "unknown" {
			t.Errorf("%q, %+v", h.Unhealthy(), h.States())
		}
	})
}

// TestSetDependency: the router is checked each minute, what is behind it each 10 s, and finds it failed first.
func TestSetDependency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead(t, tcpMonitor("web", 10*time.Second, "switch"), tcpMonitor("switch", time.Hour, "router"), tcpMonitor("router", time.Minute))
		h.after(65 * time.Second)
		h.want("failover", &h.failover)
		h.set(func() {
			h.says["web"], h.says["switch"], h.says["router"] = down("no route"), down("no route"), down("no answer")
			h.takes["router"] = 2 * time.Second
		})
		h.after(10 * time.Second)
		h.want("failover", &h.failover, "1m12s monitor router: no answer")
		var got []string
		for _, s := range h.States() {
			got = append(got, fmt.Sprintf("%s %s because %q", s.Name, s.State, s.Because))
		}
		if diff := cmp.Diff([]string{`web down because "router"`, `switch down because "router"`, `router down because ""`}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		h.want("events", &h.events, "1m12s monitor router is down: no answer", "1m12s monitor router: no answer: this head asks another to take over",
			"1m12s monitor switch is down because router is: no route", "1m12s monitor web is down because router is: no route")
		// The router is back, what is behind it is not: now that is told.
		h.set(func() { h.says["router"], h.says["switch"] = up("fine"), up("fine") })
		h.after(10 * time.Second)
		h.want("failover", &h.failover, "1m22s monitor web: no route")
	})
}

// TestSetDependencyIsUp: what does not explain anything keeps nobody waiting longer than its check takes.
func TestSetDependencyIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead(t, tcpMonitor("web", 10*time.Second, "router"), tcpMonitor("router", time.Hour))
		h.set(func() { h.says["web"], h.takes["router"] = down("refused"), 3*time.Second })
		h.after(30 * time.Second)
		h.want("failover", &h.failover, "13s monitor web: refused")
	})
}

// TestSetDependencyElsewhere: a dependency that stops being checked while its answer is awaited holds up nothing.
func TestSetDependencyElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		router := tcpMonitor("router", time.Hour)
		web := tcpMonitor("web", 10*time.Second, "router")
		web.On = OnAll
		h := newHead(t, web, router)
		h.set(func() { h.says["web"], h.takes["router"] = down("refused"), 5*time.Second })
		h.after(11 * time.Second)
		h.want("failover", &h.failover)
		h.set(func() { h.owner = false })
		h.after(3 * time.Second)
		if len(h.failover) != 1 {
			t.Errorf("%v", h.failover)
		}
	})
}

func TestSetWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := tcpMonitor("a", 10*time.Second), tcpMonitor("b", 10*time.Second), tcpMonitor("c", 10*time.Second)
		a.On, b.On, c.Exclude = OnAll, OnStandby, "yr {1970-2999}"
		h := newHead(t, a, b, c)
		h.after(15 * time.Second)
		h.want("checks", &h.checks, "10s a")
		h.set(func() { h.owner = false })
		h.after(15 * time.Second)
		h.want("checks", &h.checks, "20s a", "26s b", "30s a")
	})
}

// TestSetSlowCheck: a check never runs twice at once, and one that hangs is ended.
func TestSetSlowCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := tcpMonitor("a", 10*time.Second)
		m.Timeout = 25 * time.Second
		h := newHead(t, m)
		h.set(func() { h.takes["a"] = time.Hour })
		h.after(75 * time.Second)
		h.want("checks", &h.checks, "10s a", "35s a", "1m0s a")
	})
}

func TestSetReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tcpMonitor("a", 10*time.Second), tcpMonitor("b", 10*time.Second)
		h := newHead(t, a, b)
		h.set(func() { h.says["a"], h.says["b"] = down("x"), down("x") })
		h.after(15 * time.Second)
		b.Interval = 20 * time.Second
		if err := h.Reload(h.config([]Monitor{b, a})); err != nil {
			t.Fatal(err)
		}
		h.fake()
		h.set(func() { h.failover, h.checks = nil, nil })
		h.after(25 * time.Second)
		h.set(func() { slices.Sort(h.checks) })
		h.want("checks", &h.checks, "20s a", "30s a", "35s b", "40s a")
		h.want("failover", &h.failover, "35s monitor b: x") // a's state was kept: it has told already
		if err := h.Reload(h.config(nil)); err != nil || h.Unhealthy() != "" || len(h.States()) != 0 {
			t.Errorf("%v, %q, %v", err, h.Unhealthy(), h.States())
		}
	})
}

// TestHowto is the MySQL example of the ClusterMaker howto: a real port, and real mail.
func TestHowto(t *testing.T) {
	r := newReceiver(t, false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	mailer := newMailer(t, Mail{Server: r.addr, To: []string{"other@example.com"}})
	asked, seen := make(chan string, 10), make(chan string, 100)
	set, err := New(Config{
		Monitors: []Monitor{{
			Name: "local_mysql:mysql", Hosts: []string{"127.0.0.1"}, TCP: &TCP{Port: uint16(l.Addr().(*net.TCPAddr).Port)},
			Interval: 200 * time.Millisecond, RandSkew: 80 * time.Millisecond,
			Periods: []Period{{When: "hr {12am-11pm}", NumAlerts: 1, Alerts: []Alert{
				{Failover: true}, {Mail: &MailAlert{To: []string{"admin@example.com"}, Subject: "MYSQL monitor is requesting failover"}},
			}}},
		}},
		Mailer: mailer, Cluster: "render", Self: "sqlmaster", Epoch: func() string { return "3.0" }, Owner: func() bool { return true },
		Failover: func(reason string) { asked <- reason }, Event: func(text string, _ bool) { seen <- text },
	})
	if err != nil {
		t.Fatal(err)
	}
	readings := make(chan failover.Reading, 1000)
	ask := set.watches[0].ask
	set.watches[0].ask = func(ctx context.Context) Result {
		r := ask(ctx)
		readings <- r.Reading
		return r
	}
	start(t, mailer.Run)
	start(t, set.Run)
	if r := <-readings; r != failover.Up {
		t.Fatalf("%s while mysqld listens", r)
	}
	l.Close() // mysqld dies
	why := fmt.Sprintf("127.0.0.1: tcp port %d: connection refused", l.Addr().(*net.TCPAddr).Port)
	if got, want := <-asked, "monitor local_mysql:mysql: "+why; got != want {
		t.Errorf("asked for a failover: %q, want %q", got, want)
	}
	got := r.wait(t)
	if s := got.Header.Get("Subject"); s != "ALERT local_mysql/mysql: MYSQL monitor is requesting failover (sqlmaster)" {
		t.Errorf("subject %q", s)
	}
	if strings.Join(got.to, " ") != "TO:<admin@example.com>" {
		t.Errorf("to %v", got.to)
	}
	for _, want := range []string{
		"local_mysql:mysql is down on sqlmaster, which asks another head to take over.", "cluster      render", "head         sqlmaster", "epoch        3.0",
		"why          " + why, "try: masthead status --why",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the mail lacks %q:\n%s", want, got.body)
		}
	}
	// numalerts 1: it stays down, nothing more is told.
	for range 5 {
		<-readings
	}
	if len(asked) != 0 || len(r.all()) != 1 {
		t.Errorf("%d more failovers, %d mails", len(asked), len(r.all()))
	}
}

func TestWebhookAndCommand(t *testing.T) {
	var mu sync.Mutex
	var posted []map[string]any
	fails := 1
	arrived := make(chan struct{}, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if fails > 0 {
			fails--
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		var n map[string]any
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Token") != "t" {
			t.Errorf("%s %v %v", r.Method, r.Header, err)
		}
		posted = append(posted, n)
		arrived <- struct{}{}
	}))
	defer srv.Close()
	dir := t.TempDir()
	called := filepath.Join(dir, "called")
	script := filepath.Join(dir, "test.alert")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n{ echo \"$@\"; cat; env | grep -E '^(MON|MASTHEAD|PAGER)_' | grep -vE '_(INSIDE|REQUIRE)=' | sed 's/=17[0-9]*$/=TIME/;s/=18[0-9]*$/=TIME/' | sort; } > "+called+".new\nmv "+called+".new "+called+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	m := Monitor{
		Name: "www:http", Description: "the shop", Hosts: []string{"127.0.0.1", "127.0.0.2"}, TCP: &TCP{Port: closedPort(t)}, Interval: 100 * time.Millisecond,
		Env: map[string]string{"PAGER_GROUP": "ops"},
		Periods: []Period{{NumAlerts: 1, AlertEvery: time.Hour, Alerts: []Alert{
			{Webhook: &Webhook{URL: srv.URL, Headers: map[string]string{"X-Token": "t"}}}, {Command: &CommandAlert{Command: []string{"test.alert", "ops@example.com"}}},
		}}},
	}
	set, err := New(Config{Monitors: []Monitor{m}, Cluster: "c", Self: "head1", Epoch: func() string { return "7.1" }, Owner: func() bool { return true }, MonDir: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	start(t, set.Run)
	<-arrived
	why := fmt.Sprintf("127.0.0.1 127.0.0.2: tcp port %d: connection refused", m.TCP.Port)
	mu.Lock()
	got := posted[0]
	mu.Unlock()
	for _, k := range []string{"time", "since", "last_failure", "detail"} {
		if got[k] == "" || got[k] == nil {
			t.Errorf("no %s", k)
		}
		delete(got, k)
	}
	want := map[string]any{
		"cluster": "c", "head": "head1", "epoch": "7.1", "type": "failure", "monitor": "www:http", "description": "the shop", "hosts": []any{"127.0.0.1", "127.0.0.2"},
		"state": "down", "summary": why, "code": 1., "failures": 1., "try": "masthead status --why",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var text []byte
	for deadline := time.Now().Add(10 * time.Second); text == nil && time.Now().Before(deadline); runtime.Gosched() {
		text, _ = os.ReadFile(called)
	}
	args, rest, _ := strings.Cut(string(text), "\n")
	if fields := strings.Split(args, " -t "); fields[0] != "-s http -g www -h 127.0.0.1 127.0.0.2 -l 3600" || !strings.HasSuffix(args, " ops@example.com") {
		t.Errorf("arguments %q", args)
	}
	detail := fmt.Sprintf("127.0.0.1: down: tcp port %d: connection refused\n127.0.0.2: down: tcp port %[1]d: connection refused", m.TCP.Port)
	// env prints the second and third line of MON_LAST_OUTPUT as lines of their own, which grep drops.
	wantRest := why + "\n" + detail + "\nMASTHEAD_CLUSTER=c\nMASTHEAD_EPOCH=7.1\nMASTHEAD_HEAD=head1\nMASTHEAD_MONITOR=www:http\nMASTHEAD_STATE=down\n" +
		"MON_ALERTTYPE=failure\nMON_DESCRIPTION=the shop\nMON_FIRST_FAILURE=TIME\nMON_GROUP=www\nMON_LAST_FAILURE=TIME\nMON_LAST_OUTPUT=" + why +
		"\nMON_LAST_SUCCESS=0\nMON_LAST_SUMMARY=" + why + "\nMON_OPSTATUS=0\nMON_RETVAL=1\nMON_SERVICE=http\nPAGER_GROUP=ops\n"
	if diff := cmp.Diff(wantRest, rest); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckConfig(t *testing.T) {
	_, err := New(Config{Monitors: []Monitor{
		{Name: "a", TCP: &TCP{}, Ping: &Ping{}},
		{Name: "a b", HTTP: &HTTP{URL: "ftp://x", Match: "("}, On: "master", Interval: time.Millisecond, RandSkew: time.Hour},
		{Name: "b", Link: &Link{NIC: "eth0"}, Depends: []string{"c", "nobody"}},
		{Name: "c", Process: &Process{}, Depends: []string{"d"}},
		{Name: "d", Script: &Script{}, Depends: []string{"b"}, Exclude: "hr {25}"},
		{Name: "a", Plugin: &Plugin{Command: []string{"x"}}, Periods: []Period{{When: "x", Alerts: []Alert{{}, {Failover: true, Mail: &MailAlert{}}}, UpAlerts: []Alert{{Failover: true}}}}},
		{Name: "e", Ping: &Ping{}, Hosts: []string{"-rf", "ok"}},
	}})
	want := `[0]: ping, tcp is not one kind: want one of link, ping, tcp, http, process, script, plugin
[0].hosts: there is nothing to ping
[0].tcp.port: 0 is no port
[1].name: a b is not of letters, digits and ._:- (at most 100)
[1].on: master is none of owner, standby, all
[1].interval: 1ms is not from 100ms to 8784h0m0s
[1].randskew: 1h0m0s is not from 0 to the interval
[1].http.url: ftp://x is no http or https address
[1].http.match: ( error parsing regexp: missing closing ): ` + "`(`" + `
[3].process: wants a name or a pidfile
[4].exclude: period "hr {25}": hr {25}: "25" is no hour
[4].script.command: no program is named
[5].periods[0].when: period "x": "x" is not SCALE {VALUES}, as wd {Mon-Fri}
[5].periods[0].alerts[0]: want one of mail, webhook, command, failover
[5].periods[0].alerts[1]: want one of mail, webhook, command, failover
[5].periods[0].upalerts[0].failover: true nothing is to fail over when a monitor is up again
[5].name: a is there twice
[6].hosts[0]: -rf is no name or address
[2].depends[0]: c depends on itself: c, d, b
[2].depends[1]: nobody is no monitor
[3].depends[0]: d depends on itself: d, b, c
[4].depends[0]: b depends on itself: b, c, d`
	if err == nil || err.Error() != want {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, fmt.Sprint(err)))
	}
}

func TestReadingOfZero(t *testing.T) {
	if (Result{}).Reading != failover.Unknown || (State{}).Reading != failover.Unknown {
		t.Error("what was not looked at counts as something")
	}
}
