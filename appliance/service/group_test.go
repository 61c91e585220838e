package service

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/failover"
)

func TestStartsInOrderAndStopsInReverse(t *testing.T) {
	s := newStage(t)
	s.cfg.Services = []Service{
		{Name: "web", After: []string{"db"}, Resources: []Resource{{Script: s.script("httpd", "")}}},
		{Name: "db", Resources: []Resource{{Script: s.script("disk", "")}, {Script: s.script("mysqld", "")}}},
	}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Stop, 7)
	s.wait(failover.ServicesStopped)
	if got := s.done(); len(got) > 0 {
		t.Errorf("did %v, want nothing: all was stopped", got)
	}
	s.group.Wish(failover.Run, 23)
	if got, want := s.group.Services(), failover.ServicesStarting; got != want {
		t.Errorf("services are %v at once, want %v", got, want)
	}
	s.wait(failover.ServicesStarted)
	if diff := cmp.Diff([]string{"disk start", "mysqld start", "httpd start"}, s.done()); diff != "" {
		t.Errorf("start (-want +got):\n%s", diff)
	}
	s.group.Wish(failover.Stop, 23)
	s.wait(failover.ServicesStopped)
	if diff := cmp.Diff([]string{"httpd stop", "mysqld stop", "disk stop"}, s.done()); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
}

func TestEnvironment(t *testing.T) {
	s := newStage(t)
	out := filepath.Join(s.dir, "env")
	s.cfg.Services = []Service{{Name: "web", Resources: []Resource{{Name: "httpd", Script: s.script("httpd", `test $1 = status || env | grep ^MASTHEAD_ | sort >`+out+`.$1`)}}}}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	s.group.Wish(failover.Stop, 23)
	s.wait(failover.ServicesStopped)
	for action, owner := range map[string]string{"start": "head1", "stop": "head2"} {
		got, err := os.ReadFile(out + "." + action)
		if err != nil {
			t.Fatal(err)
		}
		want := "MASTHEAD_CLUSTER_GEN=4\nMASTHEAD_EPOCH=23\nMASTHEAD_OWNER=" + owner + "\nMASTHEAD_RESOURCE=httpd\nMASTHEAD_SERVICE=web\n"
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
}

// TestAdoption kills the daemon and starts it again: under the same epoch nothing is touched.
func TestAdoption(t *testing.T) {
	tests := []struct {
		name  string
		epoch uint64
		want  failover.Wish
		then  failover.Services
		does  []string
	}{
		{"same epoch", 23, failover.Run, failover.ServicesStarted, nil},
		{"later epoch", 39, failover.Run, failover.ServicesStarted, []string{"mysqld stop", "disk stop", "disk start", "mysqld start"}},
		{"not the owner", 24, failover.Stop, failover.ServicesStopped, []string{"mysqld stop", "disk stop"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t)
			s.cfg.Services = []Service{{Name: "db", Resources: []Resource{{Script: s.script("disk", "")}, {Script: s.script("mysqld", "")}}}}
			s.run()
			s.group.Wish(failover.Run, 23)
			s.wait(failover.ServicesStarted)
			s.kill()
			s.done()
			s.run()
			defer s.kill()
			s.until("looked at", func() bool { return s.group.Services() == failover.ServicesStarted })
			s.group.Wish(test.want, test.epoch)
			s.wait(test.then)
			if diff := cmp.Diff(test.does, s.done()); diff != "" {
				t.Errorf("did (-want +got):\n%s", diff)
			}
		})
	}
}

// TestForeign: what runs and was not started by the daemon is stopped, also before it is started.
func TestForeign(t *testing.T) {
	for _, want := range []failover.Wish{failover.Stop, failover.Run} {
		s := newStage(t)
		s.cfg.Services = []Service{{Name: "db", Resources: []Resource{{Script: s.script("mysqld", "")}}}}
		s.write("mysqld.up")
		s.run()
		s.group.Wish(want, 23)
		does, stands := []string{"mysqld stop"}, failover.ServicesStopped
		if want == failover.Run {
			does, stands = append(does, "mysqld start"), failover.ServicesStarted
		}
		s.wait(stands)
		if diff := cmp.Diff(does, s.done()); diff != "" {
			t.Errorf("did (-want +got):\n%s", diff)
		}
		s.kill()
	}
}

// TestRemovedWhileDead: a service that is not configured any more when the daemon comes back is stopped all the same.
func TestRemovedWhileDead(t *testing.T) {
	s := newStage(t)
	db := Service{Name: "db", Resources: []Resource{{Script: s.script("mysqld", "")}}}
	web := Service{Name: "web", After: []string{"db"}, Resources: []Resource{{Script: s.script("httpd", "")}}}
	s.cfg.Services = []Service{db, web}
	s.run()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	s.kill()
	s.done()
	s.cfg.Services = []Service{db}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.until("stopped", func() bool { return !s.up("httpd") })
	s.wait(failover.ServicesStarted)
	if diff := cmp.Diff([]string{"httpd stop"}, s.done()); diff != "" {
		t.Errorf("did (-want +got):\n%s", diff)
	}
}

func TestRestartThenRelocate(t *testing.T) {
	s := newStage(t)
	s.cfg.Services = []Service{{Name: "db", MaxRestarts: 2, Resources: []Resource{
		{Script: s.script("disk", "")},
		{Script: s.script("mysqld", `test $1 = status && test -e `+s.dir+`/crash && rm -f $up && { echo "Can't open tablespace" >&2; exit 1; }`), Interval: often},
	}}}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	s.done()
	if err := os.Remove(filepath.Join(s.dir, "mysqld.up")); err != nil { // it dies once
		t.Fatal(err)
	}
	s.until("restarted", func() bool { return s.up("mysqld") })
	if diff := cmp.Diff([]string{"mysqld stop", "mysqld start"}, s.done()); diff != "" {
		t.Errorf("one failure (-want +got):\n%s", diff)
	}
	s.wait(failover.ServicesStarted)
	if got := s.group.Relocate(); got != "" {
		t.Errorf("asks for another head after one failure: %s", got)
	}
	s.write("crash")
	s.wait(failover.ServicesFailed)
	const want = "service db: mysqld: check: exit code 1 (dead): Can't open tablespace; failed 3 times within 10m0s"
	if got := s.group.Relocate(); got != want {
		t.Errorf("relocate for %q, want %q", got, want)
	}
	s.until("stopped", func() bool { state, _ := s.state("db"); return state != StateStopping })
	if s.up("disk") {
		t.Error("the file system of a service that was given up is still there")
	}
	if state, reason := s.state("db"); state != StateFailed || reason != strings.TrimPrefix(want, "service db: ") {
		t.Errorf("is %s: %s", state, reason)
	}
	s.group.Wish(failover.Stop, 23)
	s.wait(failover.ServicesStopped)
	if s.group.Relocate() == "" {
		t.Error("a head that has handed over because of a service forgets why")
	}
	if err := os.Remove(filepath.Join(s.dir, "crash")); err != nil {
		t.Fatal(err)
	}
	s.group.Wish(failover.Run, 55) // the other head had it
	s.wait(failover.ServicesStarted)
	if got := s.group.Relocate(); got != "" {
		t.Errorf("asks for another head when it runs: %s", got)
	}
}

func TestRecoveryDisable(t *testing.T) {
	s := newStage(t)
	told := make(chan string, 1)
	s.cfg.Disable = func(service, reason string) { told <- service + ": " + reason }
	s.cfg.Services = []Service{
		{Name: "report", Recovery: Disable, Resources: []Resource{{Script: s.script("report", "test $1 = start && { echo no paper; exit 1; }")}}},
		{Name: "db", Autostart: new(bool), Resources: []Resource{{Script: s.script("mysqld", "")}}},
	}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	if got, want := <-told, "report: report: start: exit code 1: no paper"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	s.until("it is disabled", func() bool { state, _ := s.state("report"); return state == StateDisabled })
	if got := s.group.Services(); got != failover.ServicesStarted { // no reason to hand over, also if nothing else runs
		t.Errorf("services are %v", got)
	}
	if got := s.group.Relocate(); got != "" {
		t.Errorf("asks for another head: %s", got)
	}
	givenUp := func() string { return s.group.States()[0].GivenUp }
	if got, want := givenUp(), "report: start: exit code 1: no paper"; got != want || s.group.States()[1].GivenUp != "" {
		t.Errorf("given up: %q, want %q", got, want)
	}
	s.cfg.Wish = func(string) string { return Disabled }
	if err := s.group.Reload(s.cfg); err != nil {
		t.Fatal(err)
	}
	s.until("it is disabled in the cluster", func() bool { return givenUp() == "" })
	if state, reason := s.state("report"); state != StateDisabled || reason != "" {
		t.Errorf("is %s (%s), want %s", state, reason, StateDisabled)
	}
}

func TestStopFails(t *testing.T) {
	tests := []struct{ name, body string }{
		{"exit code", "test $1 = stop && { echo busy; exit 1; }"},
		{"hangs and ignores SIGTERM", "test $1 = stop && { trap '' TERM; sleep 60 & wait; sleep 60; }"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t)
			s.cfg.Services = []Service{{Name: "db", Resources: []Resource{{Script: s.script("mysqld", test.body), StopTimeout: 200 * time.Millisecond}}}}
			s.run()
			defer s.kill()
			s.group.Wish(failover.Run, 23)
			s.wait(failover.ServicesStarted)
			s.group.Wish(failover.Stop, 23)
			s.wait(failover.ServicesStopFailed)
			if state, reason := s.state("db"); state != StateFailed {
				t.Errorf("is %s: %s, want %s", state, reason, StateFailed)
			}
		})
	}
}

// TestStopOfWhatIsStopped: an init script that answers a stop with an error is believed when its status says stopped.
func TestStopOfWhatIsStopped(t *testing.T) {
	s := newStage(t)
	s.cfg.Services = []Service{{Name: "db", Resources: []Resource{{Script: s.script("mysqld", "test $1 = stop && { test -e $up; r=$?; rm -f $up; test $r = 0 || exit 1; }")}}}}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	if err := os.Remove(filepath.Join(s.dir, "mysqld.up")); err != nil {
		t.Fatal(err)
	}
	s.group.Wish(failover.Stop, 23)
	s.wait(failover.ServicesStopped)
}

// TestStopDuringStart: the start that is under way is broken off after a while, and undone.
func TestStopDuringStart(t *testing.T) {
	s := newStage(t)
	s.cfg.Services = []Service{{Name: "db", Resources: []Resource{
		{Script: s.script("disk", "")}, {Script: s.script("mysqld", "test $1 = start && { touch $up; sleep 60; }")}, {Script: s.script("last", "")},
	}}}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.until("starting", func() bool { return s.up("mysqld") })
	s.done()
	s.group.Wish(failover.Stop, 23)
	if got, want := s.group.Services(), failover.ServicesStopping; got != want {
		t.Errorf("services are %v, want %v", got, want)
	}
	s.wait(failover.ServicesStopped)
	if diff := cmp.Diff([]string{"mysqld stop", "disk stop"}, s.done()); diff != "" {
		t.Errorf("did (-want +got):\n%s", diff)
	}
	if got := s.group.Relocate(); got != "" {
		t.Errorf("a start that was broken off counts as a failure: %s", got)
	}
}

func TestStartTimesOut(t *testing.T) {
	s := newStage(t)
	s.cfg.Services = []Service{{Name: "db", Recovery: Relocate, Resources: []Resource{
		{Script: s.script("mysqld", "test $1 = start && { echo waiting for the disk; touch $up; sleep 60; }"), StartTimeout: 300 * time.Millisecond},
	}}}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesFailed)
	if got, want := s.group.Relocate(), "service db: mysqld: start: did not end within 300ms: waiting for the disk"; got != want {
		t.Errorf("relocate for %q, want %q", got, want)
	}
	s.until("undone", func() bool { return !s.up("mysqld") })
}

func TestMissingScriptIsNotReset(t *testing.T) {
	s := newStage(t)
	s.cfg.Services = []Service{{Name: "db", Resources: []Resource{{Script: &Script{File: filepath.Join(s.dir, "absent")}}}}}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesFailed)
	want := "service db: absent: start: " + s.dir + "/absent: cannot be executed: file does not exist"
	if got := s.group.Relocate(); got != want {
		t.Errorf("relocate for %q, want %q", got, want)
	}
	s.group.Wish(failover.Stop, 23)
	s.wait(failover.ServicesStopped)
}

func TestWishes(t *testing.T) {
	s := newStage(t)
	no := false
	s.cfg.Domains = []Domain{{Name: "second", Heads: []string{"head2"}, Restricted: true}}
	s.cfg.Services = []Service{
		{Name: "db", Resources: []Resource{{Script: s.script("mysqld", "")}}},
		{Name: "web", After: []string{"db"}, Resources: []Resource{{Script: s.script("httpd", "")}}},
		{Name: "report", Autostart: &no, Resources: []Resource{{Script: s.script("report", "")}}},
		{Name: "there", Domain: "second", Resources: []Resource{{Script: s.script("there", "")}}},
	}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	states := func() (list []string) {
		for _, x := range s.group.States() {
			list = append(list, strings.TrimSpace(x.Name+" "+x.State+" "+x.Owner+" "+x.Reason))
		}
		return list
	}
	expect := func(want ...string) {
		t.Helper()
		var got []string
		s.until(fmt.Sprint(want), func() bool { got = states(); return slices.Equal(got, want) })
	}
	expect("db started head1", "web started head1", "report disabled", "there stopped  its failover domain second is restricted to other heads")
	s.wish("db", Stopped)
	expect("db stopped", "web stopped  waits for db, which is stopped", "report disabled", "there stopped  its failover domain second is restricted to other heads")
	s.wish("db", Enabled)
	s.wish("report", Enabled)
	expect("db started head1", "web started head1", "report started head1", "there stopped  its failover domain second is restricted to other heads")
	s.wish("web", Disabled)
	expect("db started head1", "web disabled", "report started head1", "there stopped  its failover domain second is restricted to other heads")
	if got, want := s.group.Services(), failover.ServicesStarted; got != want {
		t.Errorf("services are %v, want %v", got, want)
	}
}

func TestReload(t *testing.T) {
	s := newStage(t)
	db := Service{Name: "db", Resources: []Resource{{Script: s.script("mysqld", "")}}}
	web := Service{Name: "web", After: []string{"db"}, Resources: []Resource{{Script: s.script("httpd", "")}}}
	mail := Service{Name: "mail", Resources: []Resource{{Script: s.script("postfix", "")}}}
	s.cfg.Services = []Service{db, web, mail}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	s.done()
	next := s.cfg
	patient := db
	patient.Resources = []Resource{{Script: db.Resources[0].Script, StopTimeout: time.Minute}}
	other := web
	other.Resources = []Resource{{Script: &Script{File: web.Resources[0].Script.File, Args: []string{}}}, {Script: s.script("cache", "")}}
	dns := Service{Name: "dns", Resources: []Resource{{Script: s.script("named", "")}}}
	next.Services = []Service{patient, other, dns}
	if err := s.group.Reload(next); err != nil {
		t.Fatal(err)
	}
	s.until("reloaded", func() bool { return s.up("named") && s.up("cache") && !s.up("postfix") })
	s.wait(failover.ServicesStarted)
	got := s.done()
	slices.Sort(got)
	if diff := cmp.Diff([]string{"cache start", "httpd start", "httpd stop", "named start", "postfix stop"}, got); diff != "" {
		t.Errorf("did (-want +got):\n%s", diff)
	}
	bad := next
	bad.Services = []Service{{Name: "a", After: []string{"a"}, Resources: db.Resources}}
	if err := s.group.Reload(bad); err == nil {
		t.Error("a service after itself is taken")
	}
	if got := len(s.group.States()); got != 3 {
		t.Errorf("%d services after a configuration that was refused, want 3", got)
	}
}

// TestHundred runs a hundred services of two resources; chains of ten.
func TestHundred(t *testing.T) {
	s := newStage(t)
	for i := range 100 {
		svc := Service{Name: fmt.Sprintf("s%02d", i), Resources: []Resource{
			{Script: &Script{Start: fmt.Sprintf("touch %s/a%d", s.dir, i), Stop: fmt.Sprintf("rm %s/a%d", s.dir, i), Status: fmt.Sprintf("test -e %s/a%d", s.dir, i)}},
			{Name: "b", Script: &Script{Start: fmt.Sprintf("test -e %s/a%d && touch %s/b%d", s.dir, i, s.dir, i), Stop: fmt.Sprintf("test -e %s/a%d && rm %s/b%d", s.dir, i, s.dir, i), Status: fmt.Sprintf("test -e %s/b%d", s.dir, i)}},
		}}
		if i%10 > 0 {
			svc.After = []string{fmt.Sprintf("s%02d", i-1)}
		}
		s.cfg.Services = append(s.cfg.Services, svc)
	}
	s.run()
	defer s.kill()
	began := time.Now()
	s.group.Wish(failover.Stop, 1)
	s.wait(failover.ServicesStopped)
	t.Logf("200 checks: %v", time.Since(began))
	began = time.Now()
	s.group.Wish(failover.Run, 17)
	s.wait(failover.ServicesStarted)
	t.Logf("200 starts: %v", time.Since(began))
	began = time.Now()
	s.group.Wish(failover.Stop, 17)
	s.wait(failover.ServicesStopped)
	t.Logf("200 stops: %v", time.Since(began))
	s.kill()
	s.ended <- nil
	left, err := filepath.Glob(filepath.Join(s.dir, "[ab]*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	data, err := os.ReadFile(s.cfg.Record)
	if err != nil || strings.Contains(string(data), "s01") {
		t.Errorf("record after all was stopped: %s, %v", data, err)
	}
}
