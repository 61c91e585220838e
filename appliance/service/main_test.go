package service

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

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
