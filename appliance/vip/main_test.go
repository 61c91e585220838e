package vip

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is the tests, or a head in a namespace that one of them has started.
func TestMain(m *testing.M) {
	if os.Getenv(headEnv) != "" {
		os.Exit(runHead(os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}
