package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"masthead/rootfs/apt"
)

// stopDelay is how long mmdebstrap may take to clean up after itself when it is told to stop.
const stopDelay = 20 * time.Second

const tool = "mmdebstrap"

// toolVersion asks mmdebstrap for its version.
func toolVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, tool, "--version").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is not installed; install it with: apt-get install %s", tool, tool)
	}
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", tool, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// run has mmdebstrap write the archive file, which appears complete or not at all. As root it works directly; for
// others mmdebstrap chooses a user namespace where the kernel lets it.
func run(ctx context.Context, c Config, sources []source, file string) error {
	work, err := os.MkdirTemp("", "masthead-debian-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// The root gets a copy of the list under this name, so it is always the same. In a user namespace mmdebstrap must be
	// able to read it.
	list := filepath.Join(work, "debian.sources")
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(list, []byte(deb822(sources)), 0o644); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	defer tmp.Close()

	args := []string{"--variant=" + c.Variant, "--architectures=" + c.Arch, "--format=tar"}
	if len(c.Packages) > 0 {
		args = append(args, "--include="+strings.Join(c.Packages, ","))
	}
	args = append(args, c.Suite, "-", list)
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = environment(c)
	cmd.Stdout = tmp
	var said tail
	cmd.Stderr = &lineWriter{line: func(s string) { said.add(s); c.Progress(s) }}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it removes its half-made root
	cmd.WaitDelay = stopDelay
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w\n%s", tool, err, said.String())
	}
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

// environment keeps from the caller's what mmdebstrap needs, so that nothing else changes what comes out. The machine's
// proxies are given here and not as options of apt, which would stay in the root.
func environment(c Config) []string {
	env := []string{"LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "SOURCE_DATE_EPOCH=" + strconv.FormatInt(c.Epoch.Unix(), 10)}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "USER"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	settings, _ := apt.ReadSettings(c.Root) // NewClient has read them without an error
	for name, proxy := range map[string]string{"http_proxy": settings.HTTPProxy, "https_proxy": settings.HTTPSProxy} {
		if proxy == "" {
			proxy = os.Getenv(name)
		}
		if proxy != "" && proxy != "DIRECT" {
			env = append(env, name+"="+proxy)
		}
	}
	return env
}

// tail keeps the last lines of a log, for the error.
type tail struct{ lines []string }

const tailLines = 12

func (t *tail) add(line string) {
	t.lines = append(t.lines, line)
	if len(t.lines) > tailLines {
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string { return strings.Join(t.lines, "\n") }

// lineWriter gives what is written to it line by line, without empty ones. A carriage return ends a line, too.
type lineWriter struct {
	line func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexAny(w.rest, "\r\n")
		if i < 0 {
			return len(p), nil
		}
		if s := strings.TrimSpace(string(w.rest[:i])); s != "" {
			w.line(s)
		}
		w.rest = w.rest[i+1:]
	}
}
