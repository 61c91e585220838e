package bench

import (
	"os"
	"slices"
	"strconv"
	"testing"
)

// envRuns says how often each way is measured; medians are reported.
const envRuns = "MASTHEAD_BENCH_RUNS"

// defaultRuns is the least number that has a median.
const defaultRuns = 3

func runs(b testing.TB) int {
	b.Helper()
	s := os.Getenv(envRuns)
	if s == "" {
		return defaultRuns
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		b.Fatalf("%s=%q: want a number of runs", envRuns, s)
	}
	return n
}

// median is the middle value, or the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1, 3}, 3},
		{[]float64{4, 1, 9, 2}, 3},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v: %v, want %v", test.values, got, test.want)
		}
	}
}
