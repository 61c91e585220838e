package tools

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func files() []Tool {
	return []Tool{
		own("ln", "[-sfn] TARGET... LINK", "make links", "sfn", link),
		own("readlink", "[-f] FILE...", "print where links point", "f", readlink),
		own("sync", "", "write everything to the disks", "", func(*call) error { unix.Sync(); return nil }),
	}
}

func link(c *call) error {
	if len(c.args) == 0 {
		return errUsage
	}
	targets, to := c.args[:len(c.args)-1], c.args[len(c.args)-1]
	if len(targets) == 0 {
		targets, to = c.args, "."
	}
	stat := os.Stat
	if c.has("n") {
		stat = os.Lstat
	}
	fi, err := stat(c.path(to))
	into := err == nil && fi.IsDir()
	if len(targets) > 1 && !into {
		return fmt.Errorf("%s is no directory", to)
	}
	for _, target := range targets {
		at := c.path(to)
		if into {
			at = filepath.Join(at, filepath.Base(target))
		}
		if c.has("f") {
			if err := os.Remove(at); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		if c.has("s") {
			err = os.Symlink(target, at)
		} else {
			err = os.Link(c.path(target), at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readlink(c *call) error {
	if len(c.args) == 0 {
		return errUsage
	}
	var failed error
	for _, name := range c.args {
		to, err := os.Readlink(c.path(name))
		if c.has("f") {
			if to, err = filepath.Abs(c.path(name)); err == nil {
				to, err = filepath.EvalSymlinks(to)
			}
		}
		if err != nil {
			failed = exitStatus(exitFailed) // as coreutils does it, without a word
			continue
		}
		c.printf("%s\n", to)
	}
	return failed
}
