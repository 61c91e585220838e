package kmod

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// machine is a made-up machine: a directory as its root and sysfs, and a kernel that notes what is inserted.
type machine struct {
	root string
	mu   sync.Mutex
	log  []string
	// then does what a module's arrival causes.
	then func(module string) error
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{root: t.TempDir()}
	for name, f := range testFiles() {
		m.write(t, "lib/modules/6.1/"+name, string(f.Data))
	}
	return m
}

func (m *machine) write(t testing.TB, name, text string) {
	t.Helper()
	file := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) loader(t *testing.T, cmdline string) *Loader {
	t.Helper()
	l, err := Open(Config{Root: m.root, Release: "6.1", Sys: filepath.Join(m.root, "sys"), Cmdline: cmdline, Insert: m.insert})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (m *machine) insert(file, params string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := nameOf(file)
	m.log = append(m.log, strings.TrimSpace(name+" "+params))
	if m.then != nil {
		return m.then(name)
	}
	return nil
}

func TestLoad(t *testing.T) {
	for _, tt := range []struct {
		title, name, params, cmdline string
		want                         []string
	}{
		{"dependencies first, parameters for the module alone", "virtio_net", "x=1", "", []string{"virtio_ring", "virtio", "failover", "virtio_net x=1"}},
		{"the command line has the last word", "virtio-net", "x=1", `quiet virtio_net.x=2 virtio-ring.s="a b" root=/dev/a.b=c`, []string{`virtio_ring s="a b"`, "virtio", "failover", "virtio_net x=1 x=2"}},
		{"an alias", "fs-ext4", "", "", []string{"crc32c_intel", "crc32c_generic", "jbd2", "ext4"}},
		{"an alias of two", "crypto-crc32c", "", "", []string{"crc32c_intel", "crc32c_generic"}},
		{"built in", "dmi_sysfs", "", "", nil},
		{"the blacklist is for hardware only", "b", "", "modprobe.blacklist=b", []string{"a", "b"}},
	} {
		t.Run(tt.title, func(t *testing.T) {
			m := newMachine(t)
			l := m.loader(t, tt.cmdline)
			for range 2 { // the second time there is nothing to do
				if err := l.Load(context.Background(), tt.name, tt.params); err != nil {
					t.Fatal(err)
				}
			}
			got := slices.DeleteFunc(m.log, func(s string) bool { return tt.name == "b" && s == "jbd2" })
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	ctx := context.Background()
	m := newMachine(t)
	broken := map[string]error{"virtio": unix.ENOEXEC, "crc32c_intel": unix.ENODEV, "failover": unix.EEXIST}
	m.then = func(name string) error { return broken[name] }
	l := m.loader(t, "")
	err := l.Load(ctx, "virtio_net", "")
	var e *Error
	if !errors.As(err, &e) || e.Module != "virtio" || !errors.Is(err, unix.ENOEXEC) {
		t.Errorf("a dependency fails: %v", err)
	}
	if slices.Contains(m.log, "virtio_net") {
		t.Error("loaded without its dependency")
	}
	if err := l.Load(ctx, "ext4", ""); err != nil {
		t.Errorf("a soft dependency fails: %v", err)
	}
	if err := l.Load(ctx, "none", ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown module: %v", err)
	}
	delete(broken, "virtio")
	if err := l.Load(ctx, "virtio_net", ""); err != nil {
		t.Errorf("tried again: %v", err)
	}
	m.write(t, "sys/module/present/initstate", "live\n")
	if err := l.Load(ctx, "present", ""); err != nil {
		t.Errorf("loaded by somebody else: %v", err)
	}
}

func TestColdplug(t *testing.T) {
	m := newMachine(t)
	m.write(t, "sys/bus/pci/devices/0000:00:01.0/modalias", "pci:v00001AF4d00001000sv1sd1bc01sc00i00\n")
	m.write(t, "sys/bus/platform/devices/x/modalias", "\n")
	m.write(t, "sys/class/dmi/id/modalias", "dmi:bvnX:svnSome Vendor:pnY:\n")
	m.then = func(name string) error {
		switch name {
		case "a": // a bus driver, behind which a NIC shows up
			m.write(t, "sys/bus/virtio/devices/virtio0/modalias", "virtio:d00000001v00001AF4\n")
		case "failover":
			return unix.ENOMEM
		}
		return nil
	}
	l := m.loader(t, "")
	loaded, err := l.Coldplug(context.Background())
	slices.Sort(loaded)
	if diff := cmp.Diff([]string{"a", "b", "jbd2", "virtio", "virtio_ring"}, loaded); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "failover") {
		t.Errorf("error: %v", err)
	}
	tries := len(m.log)
	if _, err := l.Coldplug(context.Background()); err == nil || len(m.log) != tries {
		t.Errorf("a second time: %v, %v", err, m.log[tries:])
	}
}

func TestColdplugBlacklist(t *testing.T) {
	m := newMachine(t)
	m.write(t, "sys/bus/virtio/devices/virtio0/modalias", "virtio:d00000001v00001AF4\n")
	loaded, err := m.loader(t, "modprobe.blacklist=foo,virtio-net").Coldplug(context.Background())
	if err != nil || len(loaded) > 0 {
		t.Errorf("%v, %v", loaded, err)
	}
}

// Devices that ask for the same modules are handled at once, and each module is inserted once, after what it needs.
func TestLoadTogether(t *testing.T) {
	m := newMachine(t)
	l := m.loader(t, "")
	var wg sync.WaitGroup
	for range 8 {
		for _, name := range []string{"virtio_net", "ext4", "virtio", "a", "b"} {
			wg.Go(func() {
				if err := l.Load(context.Background(), name, ""); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for i, name := range m.log {
		if slices.Contains(m.log[:i], name) {
			t.Errorf("%s inserted twice", name)
		}
	}
	at := func(name string) int { return slices.Index(m.log, name) }
	if !(at("virtio_ring") < at("virtio") && at("virtio") < at("virtio_net") && at("failover") < at("virtio_net") && at("jbd2") < at("ext4")) {
		t.Errorf("order: %v", m.log)
	}
}

func TestNewNeedsTables(t *testing.T) {
	if _, err := Open(Config{Root: t.TempDir(), Release: "6.1"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error: %v", err)
	}
}

func TestAdded(t *testing.T) {
	for _, tt := range []struct{ msg, want string }{
		{"add@/devices/x\x00ACTION=add\x00DEVPATH=/devices/x\x00MODALIAS=usb:v1\x00SEQNUM=1\x00", "usb:v1"},
		{"remove@/devices/x\x00MODALIAS=usb:v1\x00", ""},
		{"bind@/devices/x\x00MODALIAS=usb:v1\x00", ""},
		{"add@/module/x\x00ACTION=add\x00", ""},
		{"libudev\x00\xfe\xed", ""},
		{"", ""},
	} {
		if got := added([]byte(tt.msg)); got != tt.want {
			t.Errorf("added(%q) = %q, want %q", tt.msg, got, tt.want)
		}
	}
}

func FuzzAdded(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00MODALIAS=usb:v1\x00"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if got := added(msg); strings.Contains(got, "\x00") {
			t.Errorf("%q", got)
		}
	})
}

func TestRequest(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
		ok   bool
	}{
		{"-q -- fs-erofs", "fs-erofs", true},
		{"nls_cp437", "nls_cp437", true},
		{"-q --", "", false},
		{"-q -- a b", "", false},
	} {
		got, err := Request(strings.Fields(tt.args))
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %q, %v", tt.args, got, err)
		}
	}
}

// Watch needs a netlink socket, which any process may open.
func TestWatchEnds(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithCancel(context.Background())
	m.write(t, "sys/bus/virtio/devices/virtio0/modalias", "virtio:d00000001v00001AF4\n")
	m.then = func(name string) error {
		if name == "virtio_net" {
			cancel()
		}
		return nil
	}
	if err := m.loader(t, "").Watch(ctx, func(err error) { t.Error(err) }); err != nil {
		t.Errorf("error: %v", err)
	}
	if !slices.Contains(m.log, "virtio_net") {
		t.Errorf("loaded %v", m.log)
	}
}
