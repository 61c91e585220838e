package monitor

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The test binary runs itself in a network namespace (netns_test.go).
	if f := insides[os.Getenv("MASTHEAD_INSIDE")]; f != nil {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// need skips a test for want of something, or fails it where nothing may be missing.
func need(t testing.TB, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("MASTHEAD_REQUIRE") != "" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}
