package fence

import (
	"context"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"masthead/appliance/failover"
	"masthead/appliance/fence/redfish/redfishtest"
	"masthead/vmtest/prerequisite"
)

// running is a Fencer that runs until the test ends.
func running(t *testing.T, c Config) (*Fencer, *told) {
	t.Helper()
	told := &told{}
	c.Event = told.event
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f, told
}

// result waits for the end of a fencing in real time.
func result(t *testing.T, f *Fencer, head string) failover.Fencing {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		s := f.Fencing(head)
		if s.State != failover.FenceRunning {
			return s
		}
		select {
		case <-deadline:
			t.Fatalf("does not end: %+v", s)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestRealLevels goes down the levels with real devices: a QMP socket where nobody is, Debian's fence_redfish with a
// controller that lies, Debian's fence_dummy, which obeys.
func TestRealLevels(t *testing.T) {
	prerequisite.Programs(t, "/usr/sbin/fence_dummy")
	file := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(file, []byte("on"), 0o600); err != nil {
		t.Fatal(err)
	}
	bmc := httptest.NewTLSServer(redfishtest.New("root", "s3cr3t", redfishtest.Machine{ID: "1", Power: "On", Stuck: true}))
	defer bmc.Close()
	u, err := url.Parse(bmc.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Devices: []Device{
			{Name: "vm", Agent: "qmp", Params: map[string]string{"address": filepath.Join(t.TempDir(), "none")}},
			{Name: "bmc", Agent: "fence_redfish", Timeout: 20 * time.Second, Params: map[string]string{
				"ip": u.Hostname(), "ipport": u.Port(), "username": "root", "password": "s3cr3t", "ssl_insecure": "1", "power_timeout": "1", "plug": "none",
			}},
			{Name: "dummy", Agent: "fence_dummy"},
		},
		Heads: map[string][][]Step{"head2": {
			{{"vm", nil}},
			{{"bmc", map[string]string{"systems_uri": "/redfish/v1/Systems/1", "port": "1"}}},
			{{"dummy", map[string]string{"status_file": file}}},
		}},
	}
	delete(c.Devices[1].Params, "plug")
	delete(c.Heads["head2"][1][0].Params, "port")
	f, told := running(t, c)
	f.Want("head2")
	s := result(t, f, "head2")
	if s.State != failover.FenceProof || !strings.HasPrefix(s.Detail, "level 3: dummy") {
		t.Errorf("%+v", s)
	}
	if got, _ := os.ReadFile(file); strings.TrimSpace(string(got)) != "off" {
		t.Errorf("the machine is %q", got)
	}
	events := strings.Join(told.take(), "\n")
	for _, want := range []string{"fencing head2: level 1: vm: QMP: dial unix", "fencing head2: level 2: bmc: off: exit code 1: "} {
		if !strings.Contains(events, want) {
			t.Errorf("%q is not in the events:\n%s", want, events)
		}
	}
	if strings.Contains(events, "s3cr3t") {
		t.Errorf("the password is in the events:\n%s", events)
	}
	t.Log(events)
}

// TestRealESXScript fences as the cluster.conf of Red Hat's cluster on ESX said it.
func TestRealESXScript(t *testing.T) {
	prerequisite.Programs(t, "/usr/bin/perl")
	path, err := filepath.Abs("script/testdata/bin/fence_esxi")
	if err != nil {
		t.Fatal(err)
	}
	vm := filepath.Join(t.TempDir(), "vapp1")
	if err := os.WriteFile(vm, []byte("on\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, told := running(t, Config{
		Devices:   []Device{{Name: "esxnode1", Agent: "fence_esxi", Params: map[string]string{"server": "10.1.4.20", "username": "root", "password": "b0gus"}}},
		Heads:     map[string][][]Step{"vapp1": {{{"esxnode1", map[string]string{"operation": "off", "vmname": vm}}}}},
		AgentDirs: []string{filepath.Dir(path)},
	})
	f.Want("vapp1")
	if s := result(t, f, "vapp1"); s.State != failover.FenceProof {
		t.Errorf("%+v\n%s", s, told.take())
	}
	if log, _ := os.ReadFile(vm + ".log"); string(log) != "status\noff\nstatus\n" {
		t.Errorf("operations %q", log)
	}
}

// TestRealQEMU fences a real QEMU: the proof comes while it is there, and then it is gone.
func TestRealQEMU(t *testing.T) {
	qemu := prerequisite.Program(t, "qemu-system-x86_64")
	// A boot sector that jumps to itself: a guest that runs, and does nothing.
	disk, socket := filepath.Join(t.TempDir(), "loop.img"), filepath.Join(t.TempDir(), "qmp")
	sector := make([]byte, 512)
	copy(sector, []byte{0xeb, 0xfe})
	sector[510], sector[511] = 0x55, 0xaa
	if err := os.WriteFile(disk, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(qemu, "-nodefaults", "-display", "none", "-m", "16", "-accel", "tcg", "-name", "head2",
		"-drive", "format=raw,file="+disk, "-qmp", "unix:"+socket+",server=on,wait=off")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	defer cmd.Process.Kill()
	f, told := running(t, Config{
		Devices: []Device{{Name: "vm", Agent: "qmp", Params: map[string]string{"address": socket}}},
		Heads:   map[string][][]Step{"head2": {{{"vm", map[string]string{"port": "head2"}}}}},
	})
	for n := 0; f.Test(t.Context(), "head2")[0].Power != "on"; n++ { // QEMU starts
		if n > 1000 {
			t.Fatal(f.States())
		}
		<-time.After(10 * time.Millisecond)
	}
	began := time.Now()
	f.Want("head2")
	s := result(t, f, "head2")
	t.Logf("%v after the order: %s", time.Since(began), s.Detail)
	if s.State != failover.FenceProof || s.Target != "head2" {
		t.Errorf("%+v\n%s", s, told.take())
	}
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("QEMU is still there")
	}
	if p := f.Test(t.Context(), "head2")[0]; p.Power != "unknown" || p.Trouble == "" {
		t.Errorf("a socket where nobody is: %+v", p)
	}
}
