package arena

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Start runs a program on the machine, its output in a file. It ends with the arena at the latest.
func (m *Machine) Start(log string, name string, args ...string) (*exec.Cmd, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	// ip-netns executes the program in its own place, so the process is the program's.
	cmd := exec.Command("ip", append([]string{"netns", "exec", m.NS, name}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	started := make(chan error)
	m.arena.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("machine %s: start %s: %w", m.Name, name, err)
	}
	m.mu.Lock()
	m.running = append(m.running, cmd)
	m.mu.Unlock()
	return cmd, nil
}

// starter starts the programs of an arena until the channel is closed. The parent that Pdeathsig waits for is not this
// process but the thread that has started the other one, and threads end: see In.
func starter(starts <-chan func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := range starts {
		start()
	}
}

// Run runs a program on the machine and gives what it printed.
func (m *Machine) Run(name string, args ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"netns", "exec", m.NS, name}, args...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("machine %s: %s %s: %w: %s", m.Name, name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Processes are the ids of all that runs on the machine, also of daemons that have left the group that they were started in.
func (m *Machine) Processes() ([]int, error) {
	var ns, of unix.Stat_t
	if err := unix.Stat("/run/netns/"+m.NS, &ns); err != nil {
		return nil, fmt.Errorf("machine %s: %w", m.Name, err)
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("machine %s: list processes: %w", m.Name, err)
	}
	var pids []int
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() { // a thread of ours may be there, see In
			continue
		}
		// One that has just ended has no namespace any more.
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &of); err == nil && of.Dev == ns.Dev && of.Ino == ns.Ino {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Signal sends a signal to all that runs on the machine.
func (m *Machine) Signal(s unix.Signal) error {
	pids, err := m.Processes()
	for _, pid := range pids {
		if e := unix.Kill(pid, s); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("machine %s: signal process %d: %w", m.Name, pid, e))
		}
	}
	return err
}

// Kill kills all that runs on the machine, and waits until it is gone.
func (m *Machine) Kill() error {
	m.mu.Lock()
	running := m.running
	m.running = nil
	m.mu.Unlock()
	err := m.Signal(unix.SIGKILL)
	for _, cmd := range running {
		_ = cmd.Wait() // it was killed
	}
	for range 500 { // what is not our child tells nobody of its end; and what was being started is there now
		pids, e := m.Processes()
		if e != nil || len(pids) == 0 {
			return errors.Join(err, e)
		}
		err = errors.Join(err, m.Signal(unix.SIGKILL))
		time.Sleep(time.Millisecond)
	}
	return errors.Join(err, fmt.Errorf("machine %s: what runs there cannot be killed", m.Name))
}
