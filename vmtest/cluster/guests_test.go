package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
)

// Deadlines of the tests, by which something is wrong and not just slow. They are for a host of two busy cores without KVM, where a
// machine boots in half a minute, or in four where the host is a guest itself and others have its processors.
const (
	bootTime  = 12 * time.Minute
	replyTime = 5 * time.Minute // of a command, or of a change that the head sees
)

// shared is what the tests share.
var shared = sync.OnceValues(findProgram)

// program is the masthead that is tested.
func program(t *testing.T) string {
	t.Helper()
	if os.Getenv("MASTHEAD_VM") != "1" {
		t.Skip("boots virtual machines: set MASTHEAD_VM=1 and MASTHEAD_BIN")
	}
	path, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func findProgram() (string, error) {
	path := os.Getenv("MASTHEAD_BIN")
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("MASTHEAD_BIN=%q: want the absolute path of the program to test (make build)", path)
	}
	_, err := os.Stat(path)
	return path, err
}

// long is a test that takes too long for every change: `make long` runs it.
func long(t *testing.T) {
	t.Helper()
	if !isLong() {
		t.Skip("takes long: make long runs it")
	}
}

func isLong() bool { return os.Getenv("MASTHEAD_LONG") == "1" }

// masthead runs the program and gives what it printed on both of its outputs.
func masthead(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t), args...).CombinedOutput()
	return string(out), err
}

// mustRun is masthead where a failure ends the test.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := masthead(t, args...)
	if err != nil {
		t.Fatalf("masthead %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// build makes an image. It gives way to the machines of tests that run meanwhile.
func build(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nice", append([]string{"-n", strconv.Itoa(asideNice), program(t), "build"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// definition is the path of a shipped image definition.
func definition(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../images", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// isos are the ISOs that were built for the tests of this process, by definition.
var isos struct {
	sync.Mutex
	folder string
	built  map[string]string
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(maxTests)); err != nil {
		panic(err) // there is no such flag
	}
	code := m.Run()
	if isos.folder != "" {
		_ = os.RemoveAll(isos.folder) // a temporary folder of the host's: what is left there is its business
	}
	os.Exit(code)
}

// iso builds the ISO of a definition, once for all tests.
func iso(t *testing.T, file string) string {
	t.Helper()
	program(t)
	isos.Lock()
	defer isos.Unlock()
	if path := isos.built[file]; path != "" {
		return path
	}
	if isos.folder == "" {
		folder, err := os.MkdirTemp("", "masthead-isos-")
		if err != nil {
			t.Fatal(err)
		}
		isos.folder, isos.built = folder, map[string]string{}
	}
	began := time.Now()
	out := build(t, "iso", file, "-o", isos.folder)
	t.Logf("built in %.1f s:\n%s", time.Since(began).Seconds(), out)
	name := strings.TrimSuffix(filepath.Base(file), ".yaml")
	isos.built[file] = filepath.Join(isos.folder, name+".iso")
	return isos.built[file]
}

// trial is a cluster in a test.
type trial struct {
	*Cluster
	head  *wire.Client
	token string // file with the administrator's token
	ca    images.Digest
}

// startLab brings a lab up, without its workers, for the length of the test.
func startLab(t *testing.T, config vmtest.Config) *trial {
	t.Helper()
	secrets := t.TempDir()
	config, token, err := Prepare(config, secrets)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range config.Machines {
		m.Off = m.Off || m.Role == string(images.RoleWorker)
		config.Machines[name] = m
	}
	lab := vmtest.Start(t, config)
	return &trial{Cluster: &Cluster{Lab: lab.Lab, Token: token, secrets: secrets}, token: filepath.Join(secrets, images.CredentialAdminToken)}
}

// awaitHead waits for the API of a head, which is the one that cli and head talk to from then on.
func (c *trial) awaitHead(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	head, ca, err := c.Head(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if c.head != nil {
		c.head.Close()
	}
	c.head, c.ca = head, ca
}

// cli runs a masthead command against the head.
func (c *trial) cli(t *testing.T, args ...string) string {
	t.Helper()
	return mustRun(t, c.remote(args)...)
}

func (c *trial) remote(args []string) []string {
	return append([]string{"--head", c.head.Base, "--ca", string(c.ca), "--token-file", c.token}, args...)
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect waits for a text that a machine's console says from now on, or has said and nobody waited for yet.
func (c *trial) expect(t *testing.T, machine string, within time.Duration, pattern string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	match, err := c.Machine(machine).Console.Expect(ctx, pattern)
	if err != nil {
		t.Fatalf("console of %s: %v", machine, err)
	}
	return match
}

// sh runs a command in the shell on a machine's console and gives what it printed and its exit status.
func (c *trial) sh(t *testing.T, machine, command string) (out, status string) {
	t.Helper()
	c.begin(t, machine, command)
	return c.finish(t, machine, replyTime)
}

// begin starts a command whose end finish waits for. The marks are split where they are typed, so that the echo of the
// line is not taken for them.
func (c *trial) begin(t *testing.T, machine, command string) {
	t.Helper()
	c.enter(t, machine, `echo be"gun"; `+command+`; echo "en"ded-$?-`)
	c.expect(t, machine, replyTime, `begun`) // the end of the line may come after a line of the log
}

// enter types a line into the shell on a machine's console. A shell that has just got its terminal throws away what was typed
// before, so it is asked until it answers.
func (c *trial) enter(t *testing.T, machine, line string) {
	t.Helper()
	began, console := time.Now(), c.Machine(machine).Console
	for mark := 1; ; mark++ {
		must(t, console.Type(fmt.Sprintf("echo li\"stens-%d-\"\n", mark)))
		ctx, cancel := context.WithTimeout(t.Context(), answerTime)
		_, err := console.Expect(ctx, fmt.Sprintf(`listens-%d-`, mark))
		cancel()
		if err == nil {
			break
		}
		if time.Since(began) > replyTime {
			t.Fatalf("%s: the shell on the console: %v", machine, err)
		}
	}
	must(t, console.Type(line+"\n"))
}

// answerTime is for a shell that only echoes.
const answerTime = 20 * time.Second

func (c *trial) finish(t *testing.T, machine string, within time.Duration) (out, status string) {
	t.Helper()
	match := c.expect(t, machine, within, `(?s)^(.*?)ended-(\d+)-`) // the same here
	return match[1], match[2]
}

// mustSh is sh for a command that must succeed.
func (c *trial) mustSh(t *testing.T, machine, command string) string {
	t.Helper()
	out, status := c.sh(t, machine, command)
	if status != "0" {
		t.Fatalf("%s: %s: exit status %s\n%s", machine, command, status, out)
	}
	return out
}

// eventually asks again and again until the answer is no error; the test fails with the last one when time is up.
func eventually(t *testing.T, within time.Duration, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, within, err)
		case <-time.After(pollInterval):
		}
	}
}

// awaitUp waits until a node is up and gives the story of its boot. boot, if not empty, is the id of an earlier boot,
// which does not count.
func (c *trial) awaitUp(t *testing.T, node, machine, boot string) wire.Why {
	t.Helper()
	var why wire.Why
	eventually(t, bootTime, node+" is up", func(ctx context.Context) error {
		var err error
		if why, err = c.head.Why(ctx, node); err != nil {
			return err
		}
		if why.Node.Phase == wire.PhaseUp && why.Boot != boot {
			return nil
		}
		if s := c.Machine(machine).State(ctx); s == vmtest.Off || s == vmtest.Failed {
			t.Fatalf("%s: the machine is %s", node, s)
		}
		return errors.New(why.Verdict)
	})
	return why
}

// contains reports whether a text has all of the parts.
func contains(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}
