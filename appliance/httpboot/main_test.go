package httpboot

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("HTTPBOOT_BENCH_STORE"); dir != "" {
		os.Exit(serveForBench(dir))
	}
	goleak.VerifyTestMain(m)
}
