package heartbeat

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// spareThreads is how many threads Realtime has the runtime make in advance. Go keeps them and makes no more as long as
// fewer block in system calls at once.
const spareThreads = 16

// spareProcessors is how many goroutines may be busy, beyond one for each processor, before the sender has to wait for
// Go's scheduler, whose turns are 10 ms: with a place to spare the kernel decides who runs.
const spareProcessors = 4

// slice is how long, in milliseconds, one of our threads may keep the others of the same priority waiting. The kernel's
// default is 100 ms.
const slice = "10"

// Realtime makes the whole process one that runs on time on a machine that is short of everything: SCHED_RR with that
// priority (1 to 99), memory locked, spared by the OOM killer. What cannot be had is in the error; the rest is done all
// the same. To be called once, early; RealtimeThreads is for later.
//
// Not SCHED_FIFO: Go's runtime waits in loops for what another of its threads has yet to do (runtime/mgcsweep.go bgsweep,
// for a sweep that is not done), and on a machine with one processor that thread would never have its turn.
//
// Children have the normal scheduler (reset-on-fork) and no locked memory, but inherit the OOM score, and that they have no
// huge pages: who starts them sets the score to 0, as node/agent does.
func Realtime(priority int) error {
	runtime.GOMAXPROCS(runtime.NumCPU() + spareProcessors)
	grow(spareThreads)
	_ = os.WriteFile("/proc/sys/kernel/sched_rr_timeslice_ms", []byte(slice), 0) // in a container; 100 ms will do, too
	// The thread that moves locked pages elsewhere has no priority, and who needs such a page waits for it (Documentation/
	// admin-guide/sysctl/vm.rst). Kernels with PREEMPT_RT have this by themselves.
	_ = os.WriteFile("/proc/sys/vm/compact_unevictable_allowed", []byte("0"), 0)
	return errors.Join(spare(), smallPages(), lockMemory(), unlimitRealtime(), RealtimeThreads(priority))
}

// smallPages keeps the kernel from making huge pages of the process's memory. The thread that does it, khugepaged, has the
// lowest priority of all; on a machine with much to do it holds the lock on this memory for half a second, and the
// real-time threads wait for it. Children inherit it (prctl(2)): a script's daemon has none either, a systemd unit has them.
func smallPages() error {
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) { // a kernel without huge pages
		return fmt.Errorf("no huge pages: %w", err)
	}
	return nil
}

// RealtimeThreads gives SCHED_RR to the threads that came since the last call. The kernel's reset-on-fork is of each
// clone, threads too (kernel/sched/core.c sched_fork), and without it the children of the process would be real-time: so
// this is called again every second or so.
func RealtimeThreads(priority int) error {
	if b, err := os.ReadFile("/proc/sys/kernel/sched_rt_runtime_us"); err == nil && strings.TrimSpace(string(b)) == "0" {
		// The kernel takes such a thread and never runs it.
		return errors.New("real-time priority: /proc/sys/kernel/sched_rt_runtime_us is 0")
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("real-time priority: %w", err)
	}
	want := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: uint32(priority), Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		got, err := unix.SchedGetAttr(id, 0)
		if err == nil && (got.Policy != want.Policy || got.Priority != want.Priority || got.Flags&want.Flags == 0) {
			err = unix.SchedSetAttr(id, &want, 0)
		}
		switch {
		case err == nil || errors.Is(err, unix.ESRCH): // it has ended meanwhile
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("real-time priority %d: %w: it takes CAP_SYS_NICE, and a control group with real-time (cpu.rt_runtime_us)", priority, err)
		default:
			return fmt.Errorf("real-time priority %d: %w", priority, err)
		}
	}
	return nil
}

// grow makes the runtime have so many threads.
func grow(n int) {
	var ready, wg sync.WaitGroup
	ready.Add(n)
	for range n {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			ready.Wait() // a goroutine that is locked to its thread leaves the others to another one
		})
	}
	wg.Wait()
}

func spare() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
		return fmt.Errorf("be spared when memory runs out: %w", err)
	}
	return nil
}

// lockMemory keeps what the process has in memory there. MCL_ONFAULT locks what has been touched: without it the runtime's
// address space, most of it never used, would be filled. The program itself is brought in whole, since a page of it that
// is wanted for the first time when the root has gone would stop the heartbeats.
func lockMemory() error {
	// With MCL_FUTURE and a finite limit, a later mmap fails, of which the runtime dies.
	infinite := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &infinite); err != nil && !capable(unix.CAP_IPC_LOCK) {
		return fmt.Errorf("lock memory: no limit: %w", err)
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock memory: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("lock the program: %w", err)
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		start, size, ok := programMapping(lines.Text())
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK, start, size, 0); errno != 0 {
			return fmt.Errorf("lock the program: mlock: %w", errno)
		}
	}
	return nil
}

// capable reports whether the process has a capability in effect; those with CAP_IPC_LOCK have no limit.
func capable(capability uint) bool {
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[capability/32].Effective&(1<<(capability%32)) != 0
}

// programMapping reads a line of /proc/PID/maps (proc(5)): ok where it is a readable part of a file, which of a static
// program is the program.
func programMapping(line string) (start, size uintptr, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || !strings.HasPrefix(f[1], "r") || !strings.HasPrefix(f[5], "/") || strings.HasPrefix(f[5], "/dev/") {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil || b <= a {
		return 0, 0, false
	}
	return uintptr(a), uintptr(b - a), true
}

// unlimitRealtime takes away the limit on the time that a real-time thread may run without blocking, at whose end the
// kernel kills the process (RLIMIT_RTTIME, setrlimit(2)).
func unlimitRealtime() error {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_RTTIME, &limit)
	if err == nil && limit.Cur != unix.RLIM_INFINITY {
		limit = unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		err = unix.Setrlimit(unix.RLIMIT_RTTIME, &limit)
	}
	if err != nil {
		return fmt.Errorf("no limit to real-time threads: %w", err)
	}
	return nil
}
