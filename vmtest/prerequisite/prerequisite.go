// Package prerequisite is what a test needs of the machine that it runs on: programs, root, a kernel that can do something.
// What is missing skips the test, and fails it with MASTHEAD_REQUIRE=1, which `make test` sets, so that nothing is left out
// unseen. Tests of all packages use it; it knows nothing of masthead. .ci/prerequisites installs the programs.
package prerequisite

import (
	"os"
	"os/exec"
)

// Require is the name in the environment: 1 fails a test that would be skipped.
const Require = "MASTHEAD_REQUIRE"

// TB is the part of testing.TB that it takes, so that the program with the lab in it does not carry package testing.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Program finds a program, also where only root's PATH has it, and gives its path.
func Program(t TB, name string) string {
	t.Helper()
	path, there := find(name)
	Have(t, there, "program "+name)
	return path
}

// Peer is a program that a benchmark measures beside masthead, and goes without where it is missing and may be.
func Peer(t TB, name string) (path string, there bool) {
	t.Helper()
	if path, there = find(name); !there && os.Getenv(Require) == "1" {
		Missing(t, "program %s", name)
	}
	return path, there
}

func find(name string) (path string, there bool) {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, true
		}
	}
	return "", false
}

// Programs are those that a test starts by their names, so they have to be in the PATH.
func Programs(t TB, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := exec.LookPath(name)
		Have(t, err == nil, "program "+name)
	}
}

// Root is for what only root may do.
func Root(t TB) {
	t.Helper()
	Have(t, os.Geteuid() == 0, "root")
}

// Have is for all else: ok says whether it is there.
func Have(t TB, ok bool, what string) {
	t.Helper()
	if !ok {
		Missing(t, "%s", what)
	}
}

// Missing says what is not there.
func Missing(t TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(Require) == "1" {
		t.Fatalf("needs "+format, args...)
	}
	t.Skipf("needs "+format, args...)
}
