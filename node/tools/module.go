package tools

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

func modules(h Hooks) []Tool {
	return []Tool{
		own("lsmod", "", "list loaded kernel modules", "", lsmod),
		own("modprobe", "[-r] MODULE [NAME=VALUE]...", "load a kernel module and what it needs; -r: unload it", "rv", func(c *call) error {
			if len(c.args) == 0 {
				return errUsage
			}
			if c.has("r") {
				return unload(c)
			}
			if err := h.Modprobe(c.ctx, c.args[0], strings.Join(c.args[1:], " ")); err != nil {
				return fmt.Errorf("load %s: %w", c.args[0], err)
			}
			return nil
		}),
		own("rmmod", "MODULE...", "unload kernel modules", "", func(c *call) error {
			if len(c.args) == 0 {
				return errUsage
			}
			return unload(c)
		}),
	}
}

func unload(c *call) error {
	var failed error
	for _, name := range c.args {
		if err := unix.DeleteModule(strings.ReplaceAll(name, "-", "_"), unix.O_NONBLOCK); err != nil {
			failed = c.warn(fmt.Errorf("unload %s: %w", name, err))
		}
	}
	return failed
}

func lsmod(c *call) error {
	b, err := os.ReadFile("/proc/modules")
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without modules
		return err
	}
	w := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MODULE\tSIZE\tUSED BY")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 4 {
			fmt.Fprintf(w, "%s\t%s\t%s %s\n", f[0], f[1], f[2], strings.Trim(f[3], "-,"))
		}
	}
	return w.Flush()
}
