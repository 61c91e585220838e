package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// hangUpAfter is when processes that SIGTERM did not end are sent SIGHUP as well: an interactive shell ignores the one and
// ends by the other.
const hangUpAfter = time.Second

// stopAll ends all processes: SIGTERM, then SIGKILL to what is left after grace. It spares PID 1, kernel threads, and
// processes whose name begins with '@': those serve the root that everything else runs from (systemd's convention for
// root storage daemons).
func stopAll(grace time.Duration) error {
	pids, err := stoppable("/proc", os.Getpid())
	if err != nil {
		return err
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGTERM) // one that has ended meanwhile is what we want
	}
	deadline, hangUp := time.Now().Add(grace), time.Now().Add(hangUpAfter)
	for time.Now().Before(deadline) {
		for { // zombies are ours to reap
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || (err != nil && !errors.Is(err, unix.EINTR)) {
				break
			}
		}
		if pids, err = stoppable("/proc", os.Getpid()); err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(hangUp) {
			for _, pid := range pids {
				_ = unix.Kill(pid, unix.SIGHUP)
			}
		}
		time.Sleep(50 * time.Millisecond) // there is no event for "some process that is not my child has ended"
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return nil
}

// stoppable lists the processes that shutdown ends.
func stoppable(proc string, self int) ([]int, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || pid == self {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(proc, e.Name(), "cmdline"))
		if err != nil || len(cmdline) == 0 || cmdline[0] == '@' {
			continue // gone, a zombie or a kernel thread (both have no command line), or spared
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
