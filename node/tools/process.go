package tools

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

func processes() []Tool {
	return []Tool{
		own("ps", "", "list processes", "aefuwx", ps),
		own("kill", "[-SIGNAL] PID...", "send a signal to processes", "!", kill),
		own("free", "[-h]", "show memory, in KiB", "hkm", free),
	}
}

// process is what ps shows of one.
type process struct {
	pid, ppid int
	state     string
	rss       uint64
	command   string
}

func ps(c *call) error {
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	var all []process
	for _, d := range dir {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue // it ended
		}
		p, err := parseStat(string(stat), uint64(os.Getpagesize()))
		if err != nil {
			return err
		}
		if cmdline, err := os.ReadFile("/proc/" + d.Name() + "/cmdline"); err == nil && len(cmdline) > 0 {
			p.command = string(bytes.TrimSpace(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b process) int { return a.pid - b.pid })
	w := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "PID\tPPID\tSTATE\tRSS\tCOMMAND")
	for _, p := range all {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\n", p.pid, p.ppid, p.state, size(p.rss, true), p.command)
	}
	return w.Flush()
}

// parseStat reads /proc/PID/stat. The name, in parentheses, may itself hold any of them: the last one ends it.
func parseStat(s string, pageSize uint64) (process, error) {
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	bad := fmt.Errorf("cannot read process status %q", s)
	if open < 0 || end < open {
		return process{}, bad
	}
	pid, err := strconv.Atoi(strings.TrimSpace(s[:open]))
	rest := strings.Fields(s[end+1:])
	if err != nil || len(rest) < 22 {
		return process{}, bad
	}
	ppid, err1 := strconv.Atoi(rest[1])
	pages, err2 := strconv.ParseUint(rest[21], 10, 64)
	if err1 != nil || err2 != nil {
		return process{}, bad
	}
	return process{pid: pid, ppid: ppid, state: rest[0], rss: pages * pageSize, command: "[" + s[open+1:end] + "]"}, nil
}

func kill(c *call) error {
	if len(c.args) == 0 {
		return errUsage
	}
	sig, pids := unix.SIGTERM, c.args
	if name, ok := strings.CutPrefix(pids[0], "-"); ok && len(pids) > 1 {
		pids = pids[1:]
		if n, err := strconv.Atoi(name); err == nil && n >= 0 && n <= 64 {
			sig = unix.Signal(n)
		} else if sig = unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); sig == 0 {
			return fmt.Errorf("unknown signal %s: %w", name, errUsage)
		}
	}
	var failed error
	for _, p := range pids {
		pid, err := strconv.Atoi(p)
		if err != nil {
			failed = c.warn(fmt.Errorf("%q is no process id", p))
			continue
		}
		if err := unix.Kill(pid, sig); err != nil {
			failed = c.warn(fmt.Errorf("process %d: %w", pid, err))
		}
	}
	return failed
}

func free(c *call) error {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	m := parseMeminfo(string(b))
	unit := func(kib uint64) string { return size(kib*1024, c.has("h")) }
	if c.has("m") {
		unit = func(kib uint64) string { return strconv.FormatUint(kib/1024, 10) }
	}
	cache := m["Buffers"] + m["Cached"] + m["SReclaimable"]
	w := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\ttotal\tused\tfree\tshared\tcache\tavailable\t")
	fmt.Fprintf(w, "memory\t%s\t%s\t%s\t%s\t%s\t%s\t\n", unit(m["MemTotal"]), unit(m["MemTotal"]-min(m["MemTotal"], m["MemAvailable"])),
		unit(m["MemFree"]), unit(m["Shmem"]), unit(cache), unit(m["MemAvailable"]))
	fmt.Fprintf(w, "swap\t%s\t%s\t%s\t\t\t\t\n", unit(m["SwapTotal"]), unit(m["SwapTotal"]-m["SwapFree"]), unit(m["SwapFree"]))
	return w.Flush()
}

// parseMeminfo reads /proc/meminfo, in KiB.
func parseMeminfo(s string) map[string]uint64 {
	m := map[string]uint64{}
	for line := range strings.Lines(s) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) > 0 {
			if n, err := strconv.ParseUint(f[0], 10, 64); err == nil {
				m[name] = n
			}
		}
	}
	return m
}
