package script

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/fence/redfish/redfishtest"
	"masthead/vmtest/prerequisite"
)

// program writes a shell script.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fence_test")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestESXScript fences with a script of the form that Red Hat's cluster was used with on ESX.
func TestESXScript(t *testing.T) {
	prerequisite.Programs(t, "/usr/bin/perl")
	path, err := filepath.Abs("testdata/bin/fence_esxi")
	if err != nil {
		t.Fatal(err)
	}
	vm := filepath.Join(t.TempDir(), "vapp1")
	if err := os.WriteFile(vm, []byte("on\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 30*time.Second)
	if _, err := Describe(ctx, path); !errors.Is(err, ErrNoMetadata) {
		t.Errorf("Describe: %v", err)
	}
	// As cluster.conf has it: <device name="esxnode1" operation="off" vmname="vapp1"/>.
	a, err := New(path, nil, map[string]string{"server": "10.1.4.20", "username": "root", "password": "b0gus", "operation": "off", "vmname": vm})
	if err != nil {
		t.Fatal(err)
	}
	if on, err := a.On(ctx); !on || err != nil {
		t.Fatalf("on %v, %v", on, err)
	}
	if err := a.Off(ctx); err != nil {
		t.Fatal(err)
	}
	if on, err := a.On(ctx); on || err != nil {
		t.Errorf("on %v, %v", on, err)
	}
	log, err := os.ReadFile(vm + ".log")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("status\noff\nstatus\n", string(log)); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	// One that has not said on before is not believed: its code could be a failure's.
	b, err := New(path, nil, map[string]string{"vmname": vm})
	if err != nil {
		t.Fatal(err)
	}
	if on, err := b.On(ctx); on || err == nil || !strings.Contains(err.Error(), "never said on") {
		t.Errorf("on %v, %v", on, err)
	}
}

func TestOn(t *testing.T) {
	for _, test := range []struct {
		name   string
		result result
		saidOn bool
		want   string // on, off, or a part of the error
	}{
		{"fence-agents on", result{0, "Status: ON\n", ""}, false, "on"},
		{"fence-agents off", result{2, "Status: OFF\n", ""}, false, "off"},
		{"silent on", result{0, "", ""}, false, "on"},
		{"silent off of one that said on", result{2, "", ""}, true, "off"},
		{"silent off of one that did not", result{2, "", ""}, false, "never said on"},
		{"perl without a module", result{2, "", "Can't locate VMware/VIRuntime.pm in @INC"}, false, "never said on"},
		{"bad arguments (EC_BAD_ARGS)", result{2, "", "Failed: You have to set login name"}, false, "never said on"},
		{"error", result{1, "", "Unable to connect/login to fencing device"}, true, "exit code 1: Unable to connect"},
		{"says off, ends as on", result{0, "Status: OFF", ""}, true, "exit code 0 is on"},
		{"says on, ends as off", result{2, "Status: ON", ""}, true, "exit code 2 is off, and"},
		{"killed by a signal", result{-1, "Status: OFF", ""}, true, "exit code -1"},
		{"garbage", result{7, "\x00\xff", "\x1b[31m"}, true, "exit code 7"},
	} {
		on, err := test.result.on(test.saidOn)
		got := map[bool]string{true: "on", false: "off"}[on]
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, test.want) || err == nil && got != test.want || err != nil && on {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// FuzzOutput: whatever a program writes and ends with, it is off only with exit code 2, and a text for people stays one.
func FuzzOutput(f *testing.F) {
	f.Add(2, "Status: OFF\n", "", false)
	f.Add(0, "on", "WARNING", true)
	f.Add(1, "\xff\x00", "\n\n", false)
	f.Fuzz(func(t *testing.T, code int, stdout, stderr string, saidOn bool) {
		r := result{code, stdout, stderr}
		on, err := r.on(saidOn)
		if err == nil && !on && (code != 2 || !saidOn && !strings.Contains(strings.ToLower(stdout), "off")) || err == nil && on && code != 0 {
			t.Errorf("%+v: on %v", r, on)
		}
		if why := r.why(); strings.ContainsAny(why, "\n\x00\x1b") || len(why) > 300 {
			t.Errorf("why %q", why)
		}
	})
}

func TestNew(t *testing.T) {
	text, err := os.ReadFile("testdata/metadata.xml")
	if err != nil {
		t.Fatal(err)
	}
	meta, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		meta   *Metadata
		params map[string]string
		lines  []string // for off
		fault  string
	}{
		{"present names", &meta, map[string]string{"ip": "h", "plug": "1"}, []string{"action=off", "ip=h", "plug=1"}, ""},
		{"older names", &meta, map[string]string{"ipaddr": "h", "port": "1", "action": "off"}, []string{"action=off", "ip=h", "plug=1"}, ""},
		{"no metadata", nil, map[string]string{"b": "2", "a": "1=x", "option": "off"}, []string{"action=off", "option=off", "operation=off", "a=1=x", "b=2"}, ""},
		{"reboot", &meta, map[string]string{"ip": "h", "plug": "1", "action": "reboot"}, nil, "only off is ever done"},
		{"reboot in the old way", nil, map[string]string{"operation": "reboot"}, nil, "only off is ever done"},
		{"missing", &meta, map[string]string{"ip": "h"}, nil, "parameter plug: is missing"},
		{"mistake", &meta, map[string]string{"ip": "h", "plug": "1", "plgu": "2"}, nil, "parameter plgu: is not known"},
		{"not a flag", &meta, map[string]string{"ip": "h", "plug": "1", "secure": "perhaps"}, nil, "must be yes or no"},
		{"line break", nil, map[string]string{"a": "1\naction=reboot"}, nil, "has a line break"},
		{"a name that is a line", nil, map[string]string{"a=1\nb": "1"}, nil, "a name has letters"},
		{"missing is off", nil, map[string]string{"missing_as_off": "1"}, nil, "would count as off"},
	} {
		a, err := New("/bin/x", test.meta, test.params)
		if test.fault != "" {
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%s: %v, want %s", test.name, err, test.fault)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if diff := cmp.Diff(test.lines, a.lines("off")); diff != "" {
			t.Errorf("%s: lines (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestOffFails: an order is taken only with exit code 0, also if the program claims success.
func TestOffFails(t *testing.T) {
	for name, text := range map[string]string{
		"error": "echo 'Unable to connect' >&2; exit 1", "off is not 2": "exit 2", "dies midway": "echo Success: Powered OFF; kill -9 $$", "no program": "exec /nonexistent",
	} {
		a, err := New(program(t, text), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Off(within(t, 10*time.Second)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	a, err := New(filepath.Join(t.TempDir(), "none"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Off(t.Context()); err == nil {
		t.Error("a program that is not there: no error")
	}
}

// TestHangs: a program that hangs, with children that ignore signals, is gone to the last process when its time is up.
func TestHangs(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	path := program(t, fmt.Sprintf("trap '' TERM INT HUP\n(trap '' TERM INT HUP; echo $$ >>%[1]s; sleep 1000) &\nsleep 1000 &\necho $! >>%[1]s\necho $$ >>%[1]s\nwait", pids))
	a, err := New(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = a.On(within(t, 2*time.Second))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 8*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	gone(t, pids)
}

// TestLeavesChild: a program that ends and leaves a child behind does not leave it for long.
func TestLeavesChild(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	path := program(t, fmt.Sprintf("sleep 1000 &\necho $! >%s\necho Status: ON", pids))
	a, err := New(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if on, err := a.On(within(t, 20*time.Second)); !on || err != nil {
		t.Errorf("on %v, %v", on, err)
	}
	gone(t, pids)
}

// TestEscapes: a child in a session of its own cannot be killed with the group; it does not hold up the answer.
func TestEscapes(t *testing.T) {
	prerequisite.Programs(t, "/usr/bin/setsid")
	pids := filepath.Join(t.TempDir(), "pids")
	path := program(t, fmt.Sprintf("setsid sh -c 'echo $$ >%s; exec sleep 1000' &\nwhile ! [ -s %[1]s ]; do :; done\nexit 0", pids))
	a, err := New(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.On(within(t, 20*time.Second))
	if err == nil || !strings.Contains(err.Error(), "left a process behind") {
		t.Error(err)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// gone checks that no process of those in the file is left but as a zombie.
func gone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(text)) {
		deadline := time.Now().Add(5 * time.Second)
		for {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			if err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("process %s is still there: %s", pid, stat)
			}
			<-time.After(5 * time.Millisecond) // SIGKILL takes effect in the kernel's own time
		}
	}
}

// TestSecretsOnStdin: no argument, no variable, nothing of our environment.
func TestSecretsOnStdin(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/secret")
	seen := filepath.Join(t.TempDir(), "seen")
	path := program(t, fmt.Sprintf("exec >%s\ntr '\\0' '\\n' </proc/$$/cmdline\ntr '\\0' '\\n' </proc/$$/environ\necho -- stdin\ncat", seen))
	a, err := New(path, nil, map[string]string{"password": "b0gus"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Off(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	before, stdin, _ := strings.Cut(string(text), "-- stdin\n")
	if strings.Contains(before, "b0gus") || strings.Contains(before, "NOTIFY_SOCKET") {
		t.Error(before)
	}
	if want := "action=off\noption=off\noperation=off\npassword=b0gus\n"; stdin != want {
		t.Errorf("stdin %q, want %q", stdin, want)
	}
}

// TestMuchOutput: a program that never stops talking is listened to for as long as it has, in bounded memory.
func TestMuchOutput(t *testing.T) {
	r, err := run(within(t, 500*time.Millisecond), program(t, "exec yes"), nil)
	if err == nil || len(r.stdout) != maxOutput {
		t.Errorf("%d bytes, %v", len(r.stdout), err)
	}
}

// TestDummy runs Debian's fence_dummy, whose machine is a file.
func TestDummy(t *testing.T) {
	prerequisite.Programs(t, "/usr/sbin/fence_dummy")
	file := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(file, []byte("on"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	meta, err := Describe(ctx, "/usr/sbin/fence_dummy")
	if err != nil {
		t.Fatal(err)
	}
	a, err := New("/usr/sbin/fence_dummy", &meta, map[string]string{"status_file": file})
	if err != nil {
		t.Fatal(err)
	}
	switchesOff(t, a, 2)
}

// TestFenceRedfish runs Debian's fence_redfish against a management controller.
func TestFenceRedfish(t *testing.T) {
	prerequisite.Programs(t, "/usr/sbin/fence_redfish")
	c := redfishtest.New("root", "calvin", redfishtest.Machine{ID: "1", Power: "On"})
	s := httptest.NewTLSServer(c)
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	meta, err := Describe(ctx, "/usr/sbin/fence_redfish")
	if err != nil {
		t.Fatal(err)
	}
	params := map[string]string{"ip": u.Hostname(), "ipport": u.Port(), "username": "root", "password": "calvin", "systems_uri": "/redfish/v1/Systems/1", "ssl_insecure": "1"}
	a, err := New("/usr/sbin/fence_redfish", &meta, params)
	if err != nil {
		t.Fatal(err)
	}
	switchesOff(t, a, 1)
	if diff := cmp.Diff([]string{"1 ForceOff"}, c.Orders()); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	params["password"] = "wrong"
	if a, err = New("/usr/sbin/fence_redfish", &meta, params); err != nil {
		t.Fatal(err)
	}
	if on, err := a.On(ctx); err == nil || on {
		t.Errorf("with a wrong password: on %v, %v", on, err)
	}
}

func switchesOff(t *testing.T, a *Agent, times int) {
	t.Helper()
	ctx := within(t, time.Minute)
	if on, err := a.On(ctx); !on || err != nil {
		t.Fatalf("on %v, %v", on, err)
	}
	for range times {
		if err := a.Off(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if on, err := a.On(ctx); on || err != nil {
		t.Errorf("on %v, %v", on, err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"fence_a": 0o755, "fence_b": 0o644, "other": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "fence_dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"fence_a"}, List([]string{dir, dir})); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for agent, found := range map[string]bool{
		"fence_a": true, filepath.Join(dir, "fence_a"): true, filepath.Join(dir, "other"): true,
		"fence_b": false, "fence_c": false, "fence_dir": false, "../x": false, "": false, "./fence_a": false, filepath.Join(dir, "fence_b"): false,
	} {
		if path, err := Find([]string{dir}, agent); (err == nil) != found {
			t.Errorf("%q: %q, %v", agent, path, err)
		}
	}
}
