package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/failover"
	"masthead/vmtest/prerequisite"
)

func needAgents(t testing.TB) {
	t.Helper()
	_, err := os.Stat(ocfRoot + "/resource.d/heartbeat/Dummy")
	prerequisite.Have(t, err == nil, "OCF agents (resource-agents)")
}

// TestOCF runs Debian's Dummy agent through a group: started, found dead, restarted, adopted, stopped.
func TestOCF(t *testing.T) {
	needAgents(t)
	s := newStage(t)
	state := filepath.Join(s.dir, "dummy.state")
	s.cfg.Services = []Service{{Name: "test", Resources: []Resource{{OCF: &OCF{Agent: "ocf:heartbeat:Dummy", Params: map[string]string{"state": state}}, Interval: often}}}}
	exists := func() bool { _, err := os.Stat(state); return err == nil }
	s.run()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	if !exists() {
		t.Fatal("started, and its state file is not there")
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	s.until("restarted", func() bool { return exists() && s.group.States()[0].State == StateStarted })
	if got := s.group.States()[0].Restarts; got < 1 {
		t.Errorf("%d restarts", got)
	}
	s.kill()
	before, err := os.Stat(state)
	if err != nil {
		t.Fatal(err)
	}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	if after, err := os.Stat(state); err != nil || !os.SameFile(before, after) {
		t.Errorf("was restarted: %v", err)
	}
	s.group.Wish(failover.Stop, 23)
	s.wait(failover.ServicesStopped)
	if exists() {
		t.Error("stopped, and its state file is there")
	}
}

// TestOCFProtocol has an agent write down how it is called, and answer each code of the protocol.
func TestOCFProtocol(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "agent")
	script := "#!/bin/sh\nenv | grep ^OCF_ | sort >" + dir + "/env.$1\necho said $1\nexit $OCF_RESKEY_code\n"
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	do := func(o op, code string) result {
		w := world{run: execute, log: quiet()}
		res := Resource{Name: "db", OCF: &OCF{Agent: file, Params: map[string]string{"code": code, "two_words": "a b"}, Depth: 10}, Interval: 15 * time.Second}
		return w.operate(t.Context(), job{service: "svc", res: res, op: o, limit: 30 * time.Second, env: []string{"PATH=" + path}})
	}
	for code, want := range map[string]result{
		"0": {}, "1": {}, "2": {hard: true}, "3": {hard: true}, "4": {hard: true}, "5": {hard: true, clean: true}, "6": {fatal: true, clean: true}, "7": {},
	} {
		got := do(start, code)
		if (got.err == nil) != (code == "0") {
			t.Errorf("start with %s: %v", code, got.err)
		}
		if got.err = nil; got != want {
			t.Errorf("start with %s: %+v, want %+v", code, got, want)
		}
	}
	for code, want := range map[string]verdict{"0": up, "1": bad, "2": bad, "5": absent, "6": bad, "7": down, "8": up, "9": bad, "190": up, "191": up} {
		if got := do(check, code); got.verdict != want {
			t.Errorf("monitor with %s: %v, want %v", code, got.verdict, want)
		}
	}
	for code, fails := range map[string]bool{"0": false, "1": true} {
		if got := do(stop, code); (got.err != nil) != fails {
			t.Errorf("stop with %s: %v", code, got.err)
		}
	}
	if got, want := do(start, "1").err.Error(), "exit code 1 (error): said start"; got != want {
		t.Errorf("start says %q, want %q", got, want)
	}
	do(check, "0")
	got, err := os.ReadFile(filepath.Join(dir, "env.monitor"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"OCF_CHECK_LEVEL=10", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1", "OCF_RESKEY_CRM_meta_interval=15000",
		"OCF_RESKEY_CRM_meta_timeout=30000", "OCF_RESKEY_code=0", "OCF_RESKEY_two_words=a b", "OCF_RESOURCE_INSTANCE=svc.db",
		"OCF_RESOURCE_PROVIDER=" + filepath.Base(dir), "OCF_RESOURCE_TYPE=agent", "OCF_ROOT=/usr/lib/ocf", "",
	}, "\n")
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

// TestOCFMetadata asks every agent that is installed.
func TestOCFMetadata(t *testing.T) {
	needAgents(t)
	files, err := filepath.Glob(ocfRoot + "/resource.d/heartbeat/*")
	if err != nil {
		t.Fatal(err)
	}
	good := 0
	for _, file := range files {
		a, err := parseAgent(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := a.advice(t.Context(), execute, []string{"PATH=" + path})
		if err != nil {
			t.Log(err) // some want their software to be installed even for this
			continue
		}
		if m.Name == "" || len(m.Actions) == 0 {
			t.Errorf("%s: %+v", file, m)
		}
		good++
	}
	if good < len(files)*9/10 {
		t.Errorf("%d of %d agents say what they are", good, len(files))
	}
	t.Logf("%d of %d agents", good, len(files))
}

func TestParseMetadata(t *testing.T) {
	const text = `<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="IPaddr2" version="1.0">
<version>1.0</version>
<shortdesc lang="en">Manages  virtual
 addresses</shortdesc>
<parameters>
<parameter name="ip" unique="1" required="1"><shortdesc lang="en">IPv4 or IPv6 address</shortdesc><content type="string" default="" /></parameter>
<parameter name="nic" unique="0"><content type="string" default="eth0"/></parameter>
</parameters>
<actions>
<action name="start"   timeout="20s" />
<action name="stop" timeout="100" />
<action name="monitor" depth="0"  timeout="20s" interval="10s" />
<action name="monitor" depth="10"  timeout="1min" interval="500ms" />
</actions>
</resource-agent>`
	got, err := ParseMetadata([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Metadata{
		Name: "IPaddr2", Version: "1.0", Short: "Manages virtual addresses",
		Params: []Param{{Name: "ip", Short: "IPv4 or IPv6 address", Type: "string", Required: true}, {Name: "nic", Type: "string", Default: "eth0"}},
		Actions: []Action{
			{Name: "start", Timeout: 20 * time.Second}, {Name: "stop", Timeout: 100 * time.Second},
			{Name: "monitor", Timeout: 20 * time.Second, Interval: 10 * time.Second},
			{Name: "monitor", Timeout: time.Minute, Interval: 500 * time.Millisecond, Depth: 10},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r := got.advised(Resource{OCF: &OCF{Params: map[string]string{"nics": "eth0"}, Depth: 10}})
	if r.StartTimeout != DefaultStart || r.StopTimeout != 100*time.Second || r.CheckTimeout != time.Minute || r.Interval != 500*time.Millisecond {
		t.Errorf("advised: %+v", r)
	}
	if diff := cmp.Diff([]string{"it has no parameter nics", "the parameter ip is missing: IPv4 or IPv6 address"}, got.objections(r)); diff != "" {
		t.Errorf("objections (-want +got):\n%s", diff)
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`<resource-agent name="a"><parameters><parameter name="p"/></parameters><actions><action name="start" timeout="20s"/></actions></resource-agent>`))
	f.Add([]byte(`<?xml version="1.0" encoding="latin1"?><!DOCTYPE a [<!ENTITY b "c">]><resource-agent name="&b;"/>`))
	f.Add([]byte(`<resource-agent><actions><action timeout="1e9h" interval="-1"/></actions></resource-agent>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMetadata(data)
		if err != nil {
			return
		}
		for _, a := range m.Actions {
			if a.Timeout < 0 || a.Timeout > 24*time.Hour || a.Interval < 0 || a.Interval > 24*time.Hour {
				t.Errorf("%+v", a)
			}
		}
		for _, p := range m.Params {
			if p.Name == "" {
				t.Error("a parameter without a name")
			}
		}
	})
}

// TestOCFFilesystem has Debian's Filesystem agent mount a folder.
func TestOCFFilesystem(t *testing.T) {
	needAgents(t)
	dir := mountable(t)
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, d := range []string{from, to} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w := world{run: execute, log: quiet()}
	res := Resource{Name: "data", OCF: &OCF{Agent: "ocf:heartbeat:Filesystem", Params: map[string]string{"device": from, "directory": to, "fstype": "none", "options": "bind"}}}
	for _, step := range []struct {
		op   op
		want verdict
	}{{check, down}, {start, 0}, {check, up}, {start, 0}, {stop, 0}, {check, down}, {stop, 0}} {
		r := w.operate(t.Context(), job{service: "db", res: res, op: step.op, limit: 30 * time.Second, env: []string{"PATH=" + path}})
		if step.op == check && r.verdict != step.want || step.op != check && r.err != nil {
			t.Fatalf("%v: %+v", step.op, r)
		}
	}
}
