package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// proc is where the kernel tells of processes.
const proc = "/proc"

func (p *Process) probe(context.Context) Result {
	if p.Pidfile != "" {
		return p.byPidfile()
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return unknown("process %s: %v", p.Name, err)
	}
	n := 0
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && alive(pid) && runs(pid, p.Name) {
			n++
		}
	}
	least := max(1, p.Min)
	switch {
	case n == 0:
		return down("process %s does not run", p.Name)
	case n < least:
		return down("of process %s there are fewer than %d", p.Name, least)
	case p.Max > 0 && n > p.Max:
		return down("of process %s there are more than %d", p.Name, p.Max)
	}
	return up("%d of process %s", n, p.Name)
}

func (p *Process) byPidfile() Result {
	what := "process of " + p.Pidfile
	text, err := os.ReadFile(p.Pidfile)
	if errors.Is(err, os.ErrNotExist) {
		return down("%s: there is no such file", what)
	}
	if err != nil {
		return unknown("%s: %v", what, err)
	}
	// Some daemons (PostgreSQL) write more lines than the first.
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid < 1 {
		return unknown("%s: the file holds no process id", what)
	}
	switch {
	case !alive(pid):
		r := down("%s does not run", what)
		r.Detail = fmt.Sprintf("process id %d", pid)
		return r
	case p.Name != "" && !runs(pid, p.Name):
		r := down("%s is another program than %s", what, p.Name)
		r.Detail = fmt.Sprintf("process id %d was given again", pid)
		return r
	}
	return up("process id %d runs", pid)
}

// alive: the process is there and has not ended. Its state follows its name, which may hold anything, in parentheses
// (proc_pid_stat(5)).
func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && i+2 < len(stat) && !bytes.ContainsRune([]byte("ZXx"), rune(stat[i+2]))
}

// runs reports whether a process is of a program: by the name of the file that it was started as, or by the kernel's name,
// which has 15 bytes at most (TASK_COMM_LEN).
func runs(pid int, name string) bool {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil && len(name) <= 15 && strings.TrimSuffix(string(comm), "\n") == name {
		return true
	}
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return false
	}
	argv0, _, _ := bytes.Cut(cmdline, []byte{0})
	return filepath.Base(string(argv0)) == name
}
