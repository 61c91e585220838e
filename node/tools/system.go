package tools

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func system() []Tool {
	return []Tool{
		own("date", "[-u]", "print the time", "u", date),
		own("dmesg", "[-r]", "print the kernel's messages; -r: with their levels", "r", dmesg),
		own("env", "[NAME=VALUE]... [COMMAND]", "run a command with other variables, or print them", "+i", env),
		own("hostname", "[NAME]", "print or set the host name", "", hostname),
		own("sleep", "SECONDS|DURATION", "wait", "", sleep),
		own("uname", "[-amnrsv]", "print the kernel's name and version", "amnrsv", uname),
		own("uptime", "", "print how long the machine runs", "", uptime),
		own("which", "NAME...", "print where commands are", "", which),
	}
}

func date(c *call) error {
	t := time.Now()
	if c.has("u") {
		t = t.UTC()
	}
	c.printf("%s\n", t.Format("Mon 2006-01-02 15:04:05 MST"))
	return nil
}

func dmesg(c *call) error {
	const readAll, sizeBuffer = 3, 10 // include/linux/syslog.h
	n, err := unix.Klogctl(sizeBuffer, nil)
	if err != nil {
		return fmt.Errorf("kernel log: %w", err)
	}
	buf := make([]byte, n)
	if n, err = unix.Klogctl(readAll, buf); err != nil {
		return fmt.Errorf("kernel log: %w", err)
	}
	text := string(buf[:n])
	if !c.has("r") {
		text = withoutLevels(text)
	}
	c.printf("%s", text)
	return nil
}

var levelPrefix = regexp.MustCompile(`(?m)^<\d+>`)

func withoutLevels(s string) string { return levelPrefix.ReplaceAllString(s, "") }

func env(c *call) error {
	vars := os.Environ()
	if c.has("i") {
		vars = nil
	}
	args := c.args
	for len(args) > 0 && strings.Contains(args[0], "=") {
		vars = append(vars, args[0])
		args = args[1:]
	}
	if len(args) == 0 {
		for _, v := range vars {
			c.printf("%s\n", v)
		}
		return nil
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		c.warn(err)
		return exitStatus(127)
	}
	return fmt.Errorf("run %s: %w", path, unix.Exec(path, args, vars))
}

// replace runs argv in place of this process.
func replace(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", path, unix.Exec(path, argv, os.Environ()))
}

func hostname(c *call) error {
	switch len(c.args) {
	case 0:
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		c.printf("%s\n", name)
		return nil
	case 1:
		if err := unix.Sethostname([]byte(c.args[0])); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
		return nil
	}
	return errUsage
}

func sleep(c *call) error {
	if len(c.args) != 1 {
		return errUsage
	}
	d, err := time.ParseDuration(c.args[0])
	if err != nil {
		d, err = time.ParseDuration(c.args[0] + "s")
	}
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no time: %w", c.args[0], errUsage)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.ctx.Done():
		return errFailed
	}
}

func uname(c *call) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	s := unix.ByteSliceToString
	var out []string
	for _, f := range []struct{ flag, value string }{{"s", s(u.Sysname[:])}, {"n", s(u.Nodename[:])}, {"r", s(u.Release[:])},
		{"v", s(u.Version[:])}, {"m", s(u.Machine[:])}} {
		if c.has(f.flag) || c.has("a") || (len(c.flags) == 0 && f.flag == "s") {
			out = append(out, f.value)
		}
	}
	c.printf("%s\n", strings.Join(out, " "))
	return nil
}

func uptime(c *call) error {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return err
	}
	load := func(i int) float64 { return float64(si.Loads[i]) / 65536 } // SI_LOAD_SHIFT
	c.printf("up %v, load %.2f %.2f %.2f\n", time.Duration(si.Uptime)*time.Second, load(0), load(1), load(2))
	return nil
}

func which(c *call) error {
	if len(c.args) == 0 {
		return errUsage
	}
	var failed error
	for _, name := range c.args {
		found := false
		for _, dir := range filepath.SplitList(c.getenv("PATH")) {
			p := filepath.Join(c.path(dir), name)
			if fi, err := os.Stat(p); err == nil && !fi.IsDir() && fi.Mode()&0o111 != 0 {
				c.printf("%s\n", p)
				found = true
				break
			}
		}
		if !found {
			failed = exitStatus(exitFailed)
		}
	}
	return failed
}
