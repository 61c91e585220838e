package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// Names in the environment.
const (
	envBench   = "MASTHEAD_BENCH" // 1: benchmarks that take minutes may run
	envProgram = "MASTHEAD_BIN"   // the program to measure
)

// program is the masthead that is measured. Without MASTHEAD_BENCH=1 the benchmark is skipped.
func program(b testing.TB) string {
	b.Helper()
	if os.Getenv(envBench) != "1" {
		b.Skipf("takes minutes: set %s=1 and %s", envBench, envProgram)
	}
	path := os.Getenv(envProgram)
	if !filepath.IsAbs(path) {
		b.Fatalf("%s=%q: want the absolute path of the program to measure (make build)", envProgram, path)
	}
	return path
}

// definition is the path of a shipped image definition.
func definition(b testing.TB, name string) string {
	b.Helper()
	path, err := filepath.Abs(filepath.Join("../../images", name+".yaml"))
	if err != nil {
		b.Fatal(err)
	}
	return path
}

// cost is what a command took, in seconds.
type cost struct{ wall, cpu float64 }

// run runs a command; the benchmark ends if it fails.
func run(b testing.TB, name string, args ...string) cost {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), name, args...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return cost{time.Since(began).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}
}

// buildISO builds the head's ISO, and the worker's image that it carries, with the store at dir.
func buildISO(b testing.TB, dir, out string) (iso string, c cost) {
	b.Helper()
	c = run(b, program(b), "build", "iso", definition(b, "head"), "--store", dir, "-o", out)
	return filepath.Join(out, "head.iso"), c
}

// workerImage opens the store at dir, and the manifest of the worker's image in it.
func workerImage(b testing.TB, dir string) (*images.Store, images.Manifest) {
	b.Helper()
	store, err := images.OpenStore(dir)
	if err != nil {
		b.Fatal(err)
	}
	d, err := store.Resolve("worker")
	if err != nil {
		b.Fatal(err)
	}
	m, err := store.Manifest(d)
	if err != nil {
		b.Fatal(err)
	}
	return store, m
}

// flush waits until the disk has what was written so far, so that no measurement pays for the one before.
func flush() { unix.Sync() }

func mb(n int64) float64 { return float64(n) / 1e6 }
