package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Tools are the effects of a Set: the programs of drbd-utils and of file systems.
type Tools struct {
	// Run runs a program to its end and gives what it printed. It blocks, for toolTime at most; the end of ctx kills the program,
	// or leaves it to itself where it is one of LVM that changes something.
	Run func(ctx context.Context, env []string, argv ...string) (out string, err error)
	// Long runs one for as long as ctx allows. What it prints is told only if it fails.
	Long func(ctx context.Context, argv ...string) error
	// Watch runs one and gives its output as it comes, until ctx ends.
	Watch func(ctx context.Context, read func(io.Reader) error, argv ...string) error
	// Filesystem names what a device has; empty: none.
	Filesystem func(device string) (string, error)
	// Blank tells whether a device has nothing on it.
	Blank func(device string) (bool, error)
	// InUse tells whether a volume is mounted.
	InUse func(volume string) bool
	// InKernel tells whether DRBD may have a device of that number. It does not block.
	InKernel func(minor int) bool
}

// toolTime bounds a change: DRBD asks the peer, and the fence-peer handler the owner daemon.
const toolTime = 20 * time.Second

// lvmTime bounds one of LVM: thin_check reads all of a pool's metadata before that is activated.
const lvmTime = 5 * time.Minute

// programs is where distributions have drbd-utils and mkfs.
const programs = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

func runTool(ctx context.Context, env []string, argv ...string) (string, error) {
	within := toolTime
	if isLVM(argv) {
		within = lvmTime
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return run(ctx, env, argv...)
}

// isLVM reports whether a command is one that lvm made.
func isLVM(argv []string) bool { return len(argv) > 1 && argv[1] == "--devices" }

func runLong(ctx context.Context, argv ...string) error {
	_, err := run(ctx, nil, argv...)
	return err
}

// changesLVM reports whether it is one that may suspend devices: all but the reports.
func changesLVM(argv []string) bool {
	program := filepath.Base(argv[0])
	return isLVM(argv) && program != "lvs" && program != "vgs"
}

func command(ctx context.Context, env []string, argv []string) *exec.Cmd {
	if changesLVM(argv) {
		ctx = context.WithoutCancel(ctx) // killed while a device is suspended it would leave that so, and all I/O of the volume waiting
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append([]string{programs, "LC_ALL=C.UTF-8"}, env...)
	cmd.WaitDelay = time.Second
	return cmd
}

func run(ctx context.Context, env []string, argv ...string) (string, error) {
	cmd := command(ctx, env, argv)
	out, err := bounded(ctx, cmd.WaitDelay+stuckTime, cmd.CombinedOutput)
	return string(out), toolError(argv, string(out), err)
}

// stuckTime is how long a program may still take after the end of its context: one that was killed to go, one of LVM to end.
const stuckTime = 5 * time.Second

// errStuck is a device that does not answer.
var errStuck = refuse("masthead status --why; journalctl -k on that head", "a device does not answer, and what waits for it cannot be ended")

// bounded does something that may wait in the kernel for a device, from which nothing wakes it. It is left to itself some time
// after the end of ctx, so that the one who waits for it can go on.
func bounded[T any](ctx context.Context, after time.Duration, do func() (T, error)) (T, error) {
	type result struct {
		is  T
		err error
	}
	done := make(chan result, 1)
	go func() { // ends when the device answers
		var r result
		r.is, r.err = do()
		done <- r
	}()
	select {
	case r := <-done:
		return r.is, r.err
	case <-ctx.Done():
	}
	late := time.NewTimer(after)
	defer late.Stop()
	select {
	case r := <-done:
		return r.is, r.err
	case <-late.C:
		var none T
		return none, errStuck
	}
}

func toolError(argv []string, out string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return &missing{argv[0]}
	}
	if text := lastLines(out); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
}

// missing is a program that is not there.
type missing struct{ program string }

func (m *missing) Error() string { return m.program + " is not installed on this head" }

// Try names the package, which is the program's way into the image.
func (m *missing) Try() string {
	switch {
	case strings.HasPrefix(m.program, "drbd"):
		return "add the package drbd-utils to the image of the heads"
	case strings.Contains(m.program, "btrfs"):
		return "add the package btrfs-progs to the image of the heads"
	case strings.HasPrefix(m.program, "thin_"):
		return "add the package thin-provisioning-tools to the image of the heads"
	case strings.HasPrefix(m.program, "lv"), strings.HasPrefix(m.program, "vg"):
		return "add the packages lvm2 and thin-provisioning-tools to the image of the heads"
	}
	return "add it to the image of the heads"
}

// withTry is an error and what helps, in one line.
func withTry(err error) string {
	var t interface{ Try() string }
	if errors.As(err, &t) && t.Try() != "" {
		return err.Error() + ": " + t.Try()
	}
	return err.Error()
}

// lastLines is what of a program's output says why it failed.
func lastLines(out string) string {
	lines := strings.FieldsFunc(out, func(r rune) bool { return r == '\n' || r == '\r' })
	lines = slices.DeleteFunc(lines, func(line string) bool { return pretends.MatchString(line) })
	return keyArgument.ReplaceAllString(strings.Join(lines[max(0, len(lines)-3):], "; "), "$1…")
}

var (
	// pretends is what drbdadm says each time that it is told its node's name (drbdadm_main.c).
	pretends = regexp.MustCompile(`^\s*(found __DRBD_NODE__ in environment|PRETENDING that I am )`)
	// keyArgument is the key of a connection in a command that drbdadm quotes. What went wrong is logged, and mailed.
	keyArgument = regexp.MustCompile(`(--shared-secret[= ])[^\s']+`)
)

func watchTool(ctx context.Context, read func(io.Reader) error, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{programs, "LC_ALL=C.UTF-8"}
	var problems bytes.Buffer
	cmd.Stderr = &problems
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return toolError(argv, "", err)
	}
	err = read(out)
	if err != nil {
		_ = cmd.Process.Kill() // it may write on for ever
	}
	return errors.Join(err, toolError(argv, problems.String(), cmd.Wait()))
}

// blankEnds is how much of a device's beginning and end is looked at: DRBD's own data for devices up to some TiB, and what
// file systems, partition tables and volume managers are known by, lie there.
const blankEnds = 1 << 20

// blank reports whether there is nothing on a device, as far as its ends show.
func blank(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("look at the device: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, fmt.Errorf("look at the device %s: %w", path, err)
	}
	buf := make([]byte, min(blankEnds, size))
	for _, at := range []int64{0, size - int64(len(buf))} {
		if _, err := f.ReadAt(buf, at); err != nil {
			return false, fmt.Errorf("look at the device %s: %w", path, err)
		}
		if len(bytes.Trim(buf, "\x00")) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// magics are what a file system is known by, and where (linux/btrfs_tree.h, linux/magic.h). A takeover has no time for blkid.
var magics = []struct {
	name  string
	at    int64
	bytes string
}{
	{Btrfs, 0x10040, "_BHRfS_M"},
	{Ext4, 0x438, "\x53\xef"},
}

// filesystemOn names the file system on a device; empty: none that is known here.
func filesystemOn(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("look at the device: %w", err)
	}
	defer f.Close()
	for _, m := range magics {
		have := make([]byte, len(m.bytes))
		if _, err := f.ReadAt(have, m.at); err != nil {
			return "", fmt.Errorf("look at the device %s: %w", path, err)
		}
		if string(have) == m.bytes {
			return m.name, nil
		}
	}
	return "", nil
}
