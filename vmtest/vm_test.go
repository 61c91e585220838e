package vmtest

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/ethernet"
	"masthead/vmtest/prerequisite"
)

// slowBoot is how long a small guest may take under emulation on a busy host.
const slowBoot = 2 * time.Minute

// run types a shell command on a guest and returns its exit status and output.
func run(t *testing.T, lab *TestLab, machine, command string) (status int, output string) {
	t.Helper()
	// The mark is split where it is typed, so that an echo is not taken for it.
	if err := lab.Machine(machine).Console.Type(command + "; echo \"done\"-$?-\n"); err != nil {
		t.Fatal(err)
	}
	match := lab.Expect(machine, time.Minute, `(?s)(.*?)done-(\d+)-\n`)
	status, err := strconv.Atoi(match[2])
	if err != nil {
		t.Fatal(err)
	}
	return status, match[1]
}

func ping(t *testing.T, lab *TestLab, machine, address string) (ok bool, output string) {
	t.Helper()
	status, output := run(t, lab, machine, "ping -c 1 -W 2 "+address)
	return status == 0, output
}

func TestVMTwoMachines(t *testing.T) {
	g := newGuest(t, nil)
	lab := Start(t, Config{
		Capture:  true,
		Machines: map[string]MachineConfig{"a": g.machine(1), "b": g.machine(2)},
		Cables:   []Pair{{[2]string{"a", "b"}}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	a, b := lab.Machine("a"), lab.Machine("b")
	lab.Expect("a", slowBoot, `guest 1 is ready`)
	lab.Expect("b", slowBoot, `guest 2 is ready`)

	t.Log("the network")
	if ok, out := ping(t, lab, "a", "10.9.0.2"); !ok {
		t.Fatalf("a does not reach b:\n%s", out)
	}
	lab.Must(lab.Delay("a", 0, Transmit, 300*time.Millisecond, 0))
	_, out := ping(t, lab, "a", "10.9.0.2")
	if _, after, _ := strings.Cut(out, "time="); milliseconds(after) < 300 {
		t.Errorf("ping over a delay of 300 ms:\n%s", out)
	}
	lab.Must(lab.Heal("a"))

	t.Log("a link cut one way: b hears a, a hears nothing")
	lab.Must(lab.CutLink("a", 0, Receive))
	heardA, heardB := a.Port(0).Counters().ReceivedFrames, b.Port(0).Counters().ReceivedFrames
	if ok, out := ping(t, lab, "a", "10.9.0.2"); ok {
		t.Errorf("an answer over a cut link:\n%s", out)
	}
	if n := a.Port(0).Counters().ReceivedFrames - heardA; n != 0 {
		t.Errorf("%d frames to a", n)
	}
	if b.Port(0).Counters().ReceivedFrames == heardB {
		t.Error("no frames to b")
	}
	lab.Must(lab.HealLink("a", 0))
	if ok, out := ping(t, lab, "a", "10.9.0.2"); !ok {
		t.Errorf("healed, a does not reach b:\n%s", out)
	}

	t.Log("paused and resumed")
	lab.Must(lab.Pause(ctx, "b"))
	if state := b.State(ctx); state != "paused" {
		t.Errorf("b is %s, want paused", state)
	}
	if ok, out := ping(t, lab, "a", "10.9.0.2"); ok {
		t.Errorf("a paused machine answers:\n%s", out)
	}
	lab.Must(lab.Resume(ctx, "b"))
	if _, err := b.Events.Expect(ctx, "RESUME"); err != nil {
		t.Error(err)
	}
	if ok, out := ping(t, lab, "a", "10.9.0.2"); !ok {
		t.Errorf("resumed, b does not answer:\n%s", out)
	}

	t.Log("the serial cable")
	run(t, lab, "b", "exec 3</dev/ttyS1") // open, so that the kernel keeps what comes
	say := func(word string) string {
		run(t, lab, "a", "echo "+word+" >/dev/ttyS1")
		_, heard := run(t, lab, "b", "timeout 1 head -n 1 <&3")
		return strings.TrimSpace(strings.TrimPrefix(heard, "Terminated\n"))
	}
	if got := say("ahoy"); got != "ahoy" {
		t.Errorf("b heard %q", got)
	}
	lab.Must(lab.CutSerialFrom("a", "b"))
	if got := say("lost"); got != "" {
		t.Errorf("b heard %q over a cut cable", got)
	}

	t.Log("power")
	lab.Must(lab.PowerCut("b"))
	if state := b.State(ctx); state != Off {
		t.Errorf("b is %s after a power cut", state)
	}
	if _, err := b.Console.Expect(ctx, "never said"); err == nil {
		t.Error("a machine without power said something")
	}
	lab.Must(lab.PowerOn(ctx, "b"))
	lab.Expect("b", slowBoot, `guest 2 is ready`)
	if ok, out := ping(t, lab, "a", "10.9.0.2"); !ok {
		t.Errorf("on again, b does not answer:\n%s", out)
	}
	lab.Must(b.Console.Type("poweroff -f\n"))
	if err := b.Wait(ctx); err != nil || b.State(ctx) != Off {
		t.Errorf("b powered itself off: %v, state %s", err, b.State(ctx))
	}
}

func milliseconds(ping string) float64 {
	number, _, _ := strings.Cut(ping, " ")
	ms, _ := strconv.ParseFloat(number, 64)
	return ms
}

func TestVMStartSaysWhatQEMUSays(t *testing.T) {
	prerequisite.Programs(t, "qemu-system-x86_64")
	_, err := Up(t.Context(), Config{
		Name:     "bad",
		Machines: map[string]MachineConfig{"n01": {Memory: 64, Disks: []DiskConfig{{Path: "/no/such/disk"}}}},
	}, t.TempDir(), nil)
	if err == nil || !strings.Contains(err.Error(), "machine n01: power on: QEMU: exit status 1") || !strings.Contains(err.Error(), "/no/such/disk") {
		t.Errorf("got %v, want the machine and what QEMU said", err)
	}
}

// asks collects what a machine asks for at boot, as seen on its switch.
func asks(t *testing.T, lab *TestLab, within time.Duration, enough func(seen []string) bool) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var seen []string
	probe := lab.Switch("lan").Port("probe")
	buffer := make([]byte, ethernet.MaxFrame)
	for !enough(seen) {
		n, err := probe.Receive(ctx, buffer)
		if err != nil {
			t.Fatalf("seen on the switch: %q, then %v", seen, err)
		}
		if ask := describe(buffer[:n]); ask != "" && (len(seen) == 0 || seen[len(seen)-1] != ask) {
			seen = append(seen, ask)
			t.Log(ask)
		}
	}
	return seen
}
