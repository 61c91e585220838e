package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The words of ioprio_set(2): who is a thread, and the class that gets the disk when nobody else wants it.
const (
	ioprioWhoProcess = 1
	ioprioClassIdle  = 3 << 13
)

// stepBack lets everything else on this machine go first, at the processor and at the disk: a head that is upgraded still
// holds its lease. Both are properties of threads, which those that come later inherit. Where the kernel does not know
// them nothing is lost.
func stepBack() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		_ = unix.Setpriority(unix.PRIO_PROCESS, tid, 19)
		_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(tid), ioprioClassIdle)
	}
}
