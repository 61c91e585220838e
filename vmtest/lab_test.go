package vmtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"masthead/vmtest/ethernet"
	"masthead/vmtest/serial"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dark is a lab of which no machine is on: all there is without QEMU.
func dark() Config {
	return Config{
		Name:     "dark",
		Capture:  true,
		Switches: []string{"lan", "rack"},
		Trunks:   []Pair{{[2]string{"lan", "rack"}}},
		Cables:   []Pair{{[2]string{"a", "b"}}},
		Machines: map[string]MachineConfig{
			"a": {Role: "head", Off: true, Forward: map[string]int{"https": 443}},
			"b": {Off: true, NICs: []NICConfig{{}, {Switch: "rack"}}},
		},
	}
}

func newDark(t *testing.T) *Lab {
	t.Helper()
	lab, err := Up(t.Context(), dark(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Down() })
	return lab
}

// plugIn plays QEMU's end of a socket of the lab.
func plugIn(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestInject(t *testing.T) {
	lab := newDark(t)
	link := func(machine string, nic int) (transmit, receive ethernet.Faults) {
		return lab.Machine(machine).Port(nic).Faults()
	}
	type faults struct {
		Transmit, Receive ethernet.Faults
		AtoB, BtoA        serial.Faults
		Trunk             bool
	}
	state := func(machine string, nic int) (f faults) {
		f.Transmit, f.Receive = link(machine, nic)
		f.AtoB, f.BtoA = lab.cables[0].Faults()
		trunk, _ := lab.trunks[dark().Trunks[0]].A.Faults()
		f.Trunk = trunk.Cut
		return f
	}
	cut := ethernet.Faults{Cut: true}
	for _, test := range []struct {
		words   string
		machine string
		nic     int
		want    faults
	}{
		{"cut-link a", "a", 0, faults{Transmit: cut, Receive: cut}},
		{"cut-link a:0 tx", "a", 0, faults{Transmit: cut}},
		{"cut-link b:1 receive", "b", 1, faults{Receive: cut}},
		{"loss b:1 2.5% rx", "b", 1, faults{Receive: ethernet.Faults{Loss: 2.5}}},
		{"duplicate b 1 tx", "b", 0, faults{Transmit: ethernet.Faults{Duplicate: 1}}},
		{"reorder b 3 tx", "b", 0, faults{Transmit: ethernet.Faults{Reorder: 3}}},
		{"delay b 20ms~5ms rx", "b", 0, faults{Receive: ethernet.Faults{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond}}},
		{"cut-serial b a", "a", 0, faults{AtoB: serial.Faults{Cut: true}, BtoA: serial.Faults{Cut: true}}},
		{"cut-serial-from b a", "a", 0, faults{BtoA: serial.Faults{Cut: true}}},
		{"garble-serial a b 5", "a", 0, faults{AtoB: serial.Faults{Garble: 5}}},
		{"slow-serial b a 9600", "a", 0, faults{BtoA: serial.Faults{Baud: 9600}}},
		{"cut-trunk rack lan", "a", 0, faults{Trunk: true}},
		{"power-cut a", "a", 0, faults{}},
	} {
		if err := lab.Inject(t.Context(), strings.Fields(test.words)...); err != nil {
			t.Errorf("%s: %v", test.words, err)
		}
		if diff := cmp.Diff(test.want, state(test.machine, test.nic)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.words, diff)
		}
		if err := lab.Inject(t.Context(), "heal"); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(faults{}, state(test.machine, test.nic)); diff != "" {
			t.Errorf("%s, healed (-want +got):\n%s", test.words, diff)
		}
	}

	lab.CutLink("b", 0, Both)
	lab.Loss("b", 1, Transmit, 9)
	lab.Inject(t.Context(), "heal", "b:0")
	if f := state("b", 0); f != (faults{}) {
		t.Errorf("heal b:0 leaves %+v", f)
	}
	if f := state("b", 1); f.Transmit.Loss != 9 {
		t.Error("heal b:0 healed b:1 as well")
	}
	lab.CutLink("b", 1, Transmit) // the two add up
	if f := state("b", 1); f.Transmit != (ethernet.Faults{Cut: true, Loss: 9}) {
		t.Errorf("loss, then cut: %+v", f.Transmit)
	}
}

func TestInjectRefuses(t *testing.T) {
	lab := newDark(t)
	for words, want := range map[string]string{
		"":                      "no action",
		"explode a":             `unknown action "explode"`,
		"cut-link":              "usage: cut-link MACHINE[:NIC] [tx|rx|both]",
		"cut-link a tx x":       "usage: cut-link",
		"cut-link c":            `no machine "c" in lab dark`,
		"cut-link a:1":          "no network card 1, it has 1",
		"cut-link a:-1":         "no network card -1",
		"cut-link a:x":          "MACHINE:NIC",
		"cut-link a up":         `direction "up"`,
		"loss a much":           "want a percentage",
		"loss a 101":            "want 0 to 100",
		"loss a NaN":            "want 0 to 100",
		"delay a 5":             "want a time",
		"delay a -5ms":          "want no negative time",
		"cut-serial a c":        `no serial cable between "a" and "c": the lab has a b`,
		"garble-serial a b 200": "want 0 to 100",
		"slow-serial a b fast":  "bits per second",
		"cut-trunk lan wan":     `no trunk between switches "lan" and "wan": the lab has lan rack`,
		"heal c":                `no machine "c" in lab dark, which has a, b`,
		"pause a":               ErrOff.Error(),
	} {
		err := lab.Inject(t.Context(), strings.Fields(words)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", words, err, want)
		}
	}
}

func TestNetworkOfALab(t *testing.T) {
	lab := newDark(t)
	a, b := plugIn(t, lab.socket("a.nic0")), plugIn(t, lab.socket("b.nic1"))
	waitFor(t, "both cards linked", func() bool {
		return lab.Machine("a").Port(0).Linked() && lab.Machine("b").Port(1).Linked()
	})
	frame := append(bytes.Repeat([]byte{0xff}, 6), 0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5, 'h', 'i')
	wire := append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
	a.Write(wire) // from switch lan over the trunk to switch rack
	got := make([]byte, len(wire))
	b.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, wire) {
		t.Errorf("got %x, %v, want %x", got, err, wire)
	}
	if err := lab.Down(); err != nil {
		t.Fatal(err)
	}
	if got := captured(t, lab, "rack"); !strings.Contains(got, "trunk-lan") || !strings.Contains(got, "hi") {
		t.Errorf("capture of rack lacks the frame from the trunk: %q", got)
	}
	if _, err := os.Stat(lab.runtime); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sockets are left: %v", err)
	}
}

func captured(t *testing.T, lab *Lab, sw string) string {
	t.Helper()
	capture, err := os.ReadFile(filepath.Join(lab.Folder(), "captures", sw+".pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	return string(capture)
}

func TestStatus(t *testing.T) {
	lab := newDark(t)
	lab.CutLink("b", 1, Transmit)
	lab.CutSerialFrom("a", "b")
	io.WriteString(plugIn(t, lab.socket("b.console")), "hello\r\n")
	waitFor(t, "b's console", func() bool { return len(lab.Machine("b").Console.Tail(1)) == 1 })
	got := lab.Status(t.Context())
	cut := serial.Faults{Cut: true}
	want := []MachineStatus{
		{
			Name: "a", Role: "head", State: Off, Firmware: "bios", Memory: 512, Folder: lab.Folder() + "/a",
			NICs:    []NICStatus{{Switch: "lan", MAC: madeMAC("dark", "a", 0)}},
			Serial:  []SerialStatus{{Peer: "b", Transmit: cut}},
			Forward: map[string]string{"https": lab.Machine("a").Forward("https")},
		},
		{
			Name: "b", State: Off, Firmware: "bios", Memory: 512, Folder: lab.Folder() + "/b", LastLine: "hello",
			NICs: []NICStatus{
				{Switch: "lan", MAC: madeMAC("dark", "b", 0)},
				{Switch: "rack", MAC: madeMAC("dark", "b", 1), Transmit: ethernet.Faults{Cut: true}},
			},
			Serial: []SerialStatus{{Peer: "a", Receive: cut}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if addr := lab.Machine("a").Forward("https"); !strings.HasPrefix(addr, "127.0.0.1:") || lab.Machine("a").Forward("ssh") != "" {
		t.Errorf("https is at %q, ssh at %q", addr, lab.Machine("a").Forward("ssh"))
	}
}

// A port that is kept while its machine is off is none that any connection may get.
func TestForwardedPortsAreFixed(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		l, err := listenFixed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if port := l.Addr().(*net.TCPAddr).Port; first > firstFixed && port >= first && port <= last {
			t.Errorf("port %d is one of %d to %d, which the kernel gives away", port, first, last)
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in 10 s", what)
		}
	}
}

func TestOneLabToAFolder(t *testing.T) {
	lab := newDark(t)
	_, err := Up(t.Context(), dark(), lab.Folder(), nil)
	if err == nil || !strings.Contains(err.Error(), "in use by a running lab") {
		t.Errorf("a second lab in the folder: %v", err)
	}
	lab.Down()

	// A lab that was killed leaves its sockets and its signpost.
	if err := os.Mkdir(lab.runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(signpostPath(lab.Folder()), []byte(`{"socket":"/nowhere"}`), 0o644)
	if _, err := Connect(t.Context(), lab.Folder()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a killed lab: %v, want ErrNotRunning", err)
	}
	again, err := Up(t.Context(), dark(), lab.Folder(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Down()
	for _, left := range []string{lab.runtime, signpostPath(lab.Folder())} {
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
}

func TestLabEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lab, err := Up(ctx, dark(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-lab.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("still up")
	}
}

func TestControl(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lab := newDark(t)
	if _, err := Connect(ctx, lab.Folder()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before Serve: %v, want ErrNotRunning", err)
	}
	served := make(chan error, 1)
	go func() { served <- lab.Serve(ctx) }()
	waitFor(t, "lab.json", func() bool { _, err := os.Stat(signpostPath(lab.Folder())); return err == nil })
	c, err := Connect(ctx, lab.Folder())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Name != "dark" {
		t.Errorf("lab %q", c.Name)
	}

	if err := c.Inject(ctx, "cut-link", "b:1", "rx"); err != nil {
		t.Error(err)
	}
	if err := c.Inject(ctx, "cut-link", "nobody"); err == nil || !strings.Contains(err.Error(), `no machine "nobody"`) {
		t.Errorf("cut-link nobody: %v", err)
	}
	got, err := c.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lab.Status(ctx), got); diff != "" {
		t.Errorf("status (-here +there):\n%s", diff)
	}
	if !got[1].NICs[1].Receive.Cut {
		t.Error("the cut is not in the status")
	}

	if _, err := c.Console(ctx, "nobody"); err == nil || !strings.Contains(err.Error(), `no machine "nobody"`) {
		t.Errorf("console of nobody: %v", err)
	}
	machine := plugIn(t, lab.socket("a.console"))
	io.WriteString(machine, "login: \r\n")
	waitFor(t, "a's console", func() bool { return len(lab.Machine("a").Console.Tail(1)) == 1 })
	console, err := c.Console(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, len("login:\r\n"))
	if _, err := io.ReadFull(console, shown); err != nil || string(shown) != "login:\r\n" {
		t.Errorf("shown %q, %v", shown, err)
	}
	io.WriteString(console, "root\r")
	typed := make([]byte, 5)
	if _, err := io.ReadFull(machine, typed); err != nil || string(typed) != "root\r" {
		t.Errorf("typed %q, %v", typed, err)
	}

	// A person's terminal: keys come from a file until Ctrl-].
	keys, keyboard, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	defer keyboard.Close()
	keyboard.WriteString("ls\r\x1dnot typed")
	if err := Interact(ctx, console, keys, io.Discard); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(machine, typed[:3]); err != nil || string(typed[:3]) != "ls\r" {
		t.Errorf("typed %q, %v", typed[:3], err)
	}

	stays, err := c.Console(ctx, "a") // does not hold the end up
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	if err := c.Down(ctx); err != nil {
		t.Error(err)
	}
	select {
	case <-lab.Done():
	default:
		t.Error("Down returned before the lab was down")
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := Connect(ctx, lab.Folder()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Down: %v, want ErrNotRunning", err)
	}
}
