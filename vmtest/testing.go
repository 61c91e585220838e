package vmtest

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"masthead/vmtest/prerequisite"
	"masthead/vmtest/qemu"
)

// TB is the part of testing.TB that a lab needs, so that a program with a lab does
// not carry package testing.
type TB interface {
	Helper()
	Name() string
	Failed() bool
	Context() context.Context
	Cleanup(func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Names in the environment of tests.
const (
	envVM        = "MASTHEAD_VM"        // 1: tests may start virtual machines
	envArtifacts = "MASTHEAD_ARTIFACTS" // folder for what failed tests leave; "" is the temporary folder
)

// TestLab is a lab in a test: what its own methods cannot do fails the test.
type TestLab struct {
	*Lab
	t TB
}

// Start brings up a lab for the length of a test. Without MASTHEAD_VM=1 the test
// is skipped. When it fails, the lab's folder is kept, and the log says where it
// is, how QEMU was called, and what each console said last.
func Start(t TB, config Config) *TestLab {
	t.Helper()
	needVM(t)
	if config.Name == "" {
		config.Name = "test"
	}
	folder, err := os.MkdirTemp(os.Getenv(envArtifacts), folderName(t.Name()))
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the lab's files are kept in %s", folder)
			return
		}
		if err := os.RemoveAll(folder); err != nil {
			t.Logf("lab: %v", err)
		}
	})
	// Not the test's context: that ends before the cleanup, and what the machines
	// were doing when the test failed would be gone.
	lab, err := Up(context.Background(), config, folder, nil)
	if err != nil {
		t.Logf("%s", commandsIn(folder))
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", lab.Report(t.Context()))
		}
		if err := lab.Down(); err != nil {
			t.Logf("lab: %v", err)
		}
	})
	return &TestLab{lab, t}
}

func needVM(t TB) {
	t.Helper()
	if os.Getenv(envVM) != "1" {
		t.Skipf("starts virtual machines: set %s=1", envVM)
	}
	prerequisite.Programs(t, qemu.Program)
}

// Machine returns a machine; the test fails when there is none of that name.
func (l *TestLab) Machine(name string) *Machine {
	l.t.Helper()
	m := l.Lab.Machine(name)
	if m == nil {
		l.t.Fatalf("no machine %q in the lab", name)
	}
	return m
}

// Expect waits for a text on a machine's console and returns the match and its
// submatches; the test fails when it does not come in time.
func (l *TestLab) Expect(machine string, within time.Duration, pattern string) []string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), within)
	defer cancel()
	match, err := l.Machine(machine).Console.Expect(ctx, pattern)
	if err != nil {
		l.t.Fatalf("console of %s: %v", machine, err)
	}
	return match
}

// Must fails the test on an error, of a fault for instance.
func (l *TestLab) Must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("%v", err)
	}
}

// reportLines is how much of each console a report shows.
const reportLines = 40

// Report says for each machine how it is, how QEMU was called, and what its
// console said last: what one needs to understand a failed test.
func (l *Lab) Report(ctx context.Context) string {
	var b strings.Builder
	for _, s := range l.Status(context.WithoutCancel(ctx)) {
		m := l.machines[s.Name]
		b.WriteString("machine " + s.Name + ": " + s.State)
		if s.Error != "" {
			b.WriteString(": " + s.Error)
		}
		b.WriteString("\n" + m.Command() + "\nconsole of " + s.Name + ", the last lines:\n")
		for _, line := range m.Console.Tail(reportLines) {
			b.WriteString("  | " + line + "\n")
		}
	}
	return b.String()
}

// commandsIn returns the QEMU commands of a lab that did not come up.
func commandsIn(folder string) string {
	var b strings.Builder
	scripts, _ := filepath.Glob(filepath.Join(folder, "*", "command.sh"))
	for _, path := range scripts {
		script, err := os.ReadFile(path)
		if err == nil {
			b.WriteString(path + ":\n" + string(script))
		}
	}
	return b.String()
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

func folderName(test string) string {
	return "masthead-" + notInNames.ReplaceAllString(test, "-") + "-"
}
