package heartbeat

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// roleEnv makes a process of the test one that burns its processor, or one whose heartbeats are timed.
const roleEnv = "MASTHEAD_TEST_ROLE"

func beRole(role string) int {
	switch role {
	case "burn":
		for burned := uint64(0); ; burned++ { // until it is killed
			if burned == ^uint64(0) {
				return 0
			}
		}
	case "threads":
		return beThreads()
	case "on time", "on time, real-time", "on time, busy inside", "on time, busy inside, spare":
		return beOnTime(role)
	}
	return 2
}

// role starts this program in a role; it dies with the thread that started it.
func role(name string) *exec.Cmd {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), roleEnv+"="+name)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func needRealtime(t testing.TB) {
	t.Helper()
	out, err := exec.Command("chrt", "-f", "1", "true").CombinedOutput()
	prerequisite.Have(t, err == nil, "real-time priorities: "+strings.TrimSpace(string(out)))
}

type threads struct{ Before, After, Child []string }

// policies are the scheduling policies of the threads of a process, each once.
func policies(pid string) []string {
	tasks, _ := os.ReadDir("/proc/" + pid + "/task")
	var out []string
	for _, t := range tasks {
		id, _ := strconv.Atoi(t.Name())
		if a, err := unix.SchedGetAttr(id, 0); err == nil {
			out = append(out, fmt.Sprintf("%d/%d", a.Policy, a.Priority))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func beThreads() int {
	refused := fmt.Sprint(Realtime(5))
	var got threads
	grow(2 * spareThreads) // more than were made in advance
	got.Before = policies("self")
	if err := RealtimeThreads(5); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	got.After = policies("self")
	child := role("burn")
	if err := child.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	got.Child = policies(fmt.Sprint(child.Process.Pid))
	child.Process.Kill()
	child.Wait()
	status, _ := os.ReadFile("/proc/self/status")
	oom, _ := os.ReadFile("/proc/self/oom_score_adj")
	json.NewEncoder(os.Stdout).Encode(struct {
		threads
		Status, OOM, Refused string
	}{got, string(status), string(oom), refused})
	return 0
}

func TestRealtime(t *testing.T) {
	needRealtime(t)
	out, err := role("threads").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		threads
		Status, OOM, Refused string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := threads{Before: []string{"0/0", "2/5"}, After: []string{"2/5"}, Child: []string{"0/0"}}
	if diff := cmp.Diff(want, got.threads); diff != "" {
		t.Errorf("policies of the threads, and of a child: %s", diff)
	}
	var locked int
	for line := range strings.Lines(got.Status) {
		fmt.Sscanf(line, "VmLck: %d kB", &locked)
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if locked < int(self.Size()/1024/3) {
		t.Errorf("%d KiB are locked of a program of %d", locked, self.Size()/1024)
	}
	if !strings.Contains(got.Status, "THP_enabled:\t0\n") {
		t.Errorf("it may have huge pages:\n%s", got.Status)
	}
	if capable(unix.CAP_SYS_RESOURCE) {
		if strings.TrimSpace(got.OOM) != "-1000" || got.Refused != "<nil>" {
			t.Errorf("OOM score %s; %s", got.OOM, got.Refused)
		}
	} else if want := "be spared when memory runs out: write /proc/self/oom_score_adj: permission denied"; got.Refused != want {
		t.Errorf("without CAP_SYS_RESOURCE: %s, want %s", got.Refused, want)
	}
}

func TestProgramMapping(t *testing.T) {
	for line, want := range map[string]uintptr{
		"00400000-00a1c000 r-xp 00000000 fe:00 1234                               /usr/bin/masthead": 0x61c000,
		"00a1c000-00a1d000 ---p 00000000 fe:00 1234                               /usr/bin/masthead": 0,
		"c000000000-c000400000 rw-p 00000000 00:00 0 ":                                               0,
		"7ffd1000-7ffd3000 r-xp 00000000 00:00 0                                  [vdso]":            0,
		"7f0000000000-7f0000001000 rw-s 00000000 00:05 7                          /dev/nbd0":         0,
	} {
		if _, size, ok := programMapping(line); size != want || ok != (want > 0) {
			t.Errorf("%s: %#x, %t", line, size, ok)
		}
	}
}

const (
	timedInterval = 10 * time.Millisecond
	timedFrames   = 200
)

type lateness struct{ P99, Max time.Duration }

// beOnTime times the sending of one link and prints how much longer than the interval it was between two frames.
func beOnTime(name string) int {
	switch name {
	case "on time, real-time":
		if err := RealtimeThreads(5); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := Realtime(5); err != nil && capable(unix.CAP_SYS_RESOURCE) {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "on time, busy inside, spare":
		runtime.GOMAXPROCS(runtime.NumCPU() + spareProcessors)
		fallthrough
	case "on time, busy inside":
		for range runtime.NumCPU() {
			go beRole("burn")
		}
	}
	nobody := netip.MustParseAddrPort("127.0.0.1:9")
	h, err := New(Config{Cluster: "c1", Self: 0, Key: testKey, Interval: timedInterval, NICs: []NIC{{Peer: 1, Local: nobody, Remote: nobody}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var times []time.Duration
	h.sockets = nil
	h.opened(h.links[0], func([]byte) error {
		now, err := monotonic()
		if times = append(times, now); len(times) == timedFrames {
			cancel()
		}
		return err
	})
	h.Say(saying(1, 1))
	if err := h.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var late []time.Duration
	for i := range times[1:] {
		late = append(late, max(0, times[i+1]-times[i]-timedInterval))
	}
	slices.Sort(late)
	json.NewEncoder(os.Stdout).Encode(lateness{late[len(late)*99/100], late[len(late)-1]})
	return 0
}

// BenchmarkOnTime is how late heartbeats are sent while twice as many processes as there are processors burn them. In the
// last two cases the daemon burns them itself, which only Realtime's spare processors help against.
func BenchmarkOnTime(b *testing.B) {
	for _, c := range []struct {
		name, role string
		burners    int
	}{
		{"idle", "on time", 0},
		{"loaded", "on time", 2 * runtime.GOMAXPROCS(0)},
		{"loaded,realtime", "on time, real-time", 2 * runtime.GOMAXPROCS(0)},
		{"busy-inside", "on time, busy inside", 0},
		{"busy-inside,spare", "on time, busy inside, spare", 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			if strings.Contains(c.name, "realtime") {
				needRealtime(b)
			}
			runtime.LockOSThread() // the burners die with the thread
			defer runtime.UnlockOSThread()
			for range c.burners {
				burner := role("burn")
				if err := burner.Start(); err != nil {
					b.Fatal(err)
				}
				defer func() { burner.Process.Kill(); burner.Wait() }()
			}
			var worst lateness
			for b.Loop() {
				out, err := role(c.role).Output()
				if err != nil {
					b.Fatal(err)
				}
				var got lateness
				if err := json.Unmarshal(out, &got); err != nil {
					b.Fatal(err)
				}
				worst = lateness{max(worst.P99, got.P99), max(worst.Max, got.Max)}
			}
			b.ReportMetric(float64(worst.P99.Microseconds())/1000, "p99-ms-late")
			b.ReportMetric(float64(worst.Max.Microseconds())/1000, "max-ms-late")
			b.ReportMetric(0, "ns/op")
		})
	}
}
