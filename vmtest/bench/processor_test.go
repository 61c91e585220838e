package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// ticks is the unit of processor time in /proc: USER_HZ, 100 on every architecture that Go runs on.
const ticks = 100

// processorTime is how many seconds of the host's processors a machine has used since it was switched on. Other
// programs disturb it less than they disturb the clock.
func (l *lab) processorTime(ctx context.Context, name string) (float64, error) {
	for _, s := range l.Status(ctx) {
		if s.Name != name || s.PID == 0 {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID))
		if err != nil {
			return 0, err
		}
		return parseStat(string(stat))
	}
	return 0, fmt.Errorf("machine %s has no process", name)
}

// parseStat reads the processor time out of /proc/PID/stat (proc(5)).
func parseStat(stat string) (float64, error) {
	_, after, ok := strings.Cut(stat[strings.LastIndexByte(stat, ')')+1:], " ") // the name may have spaces and brackets
	fields := strings.Fields(after)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("process status %q: too short", stat)
	}
	user, err := strconv.ParseUint(fields[11], 10, 64)
	system, err2 := strconv.ParseUint(fields[12], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return 0, fmt.Errorf("process status: %w", err)
	}
	return float64(user+system) / ticks, nil
}

func TestParseStat(t *testing.T) {
	const stat = "4711 (qemu (x) 86) S 1 4711 4711 0 -1 4194560 1 0 0 0 1234 66 0 0 20 0 4 0 99 1 2\n"
	if got, err := parseStat(stat); err != nil || got != 13 {
		t.Errorf("got %v, %v, want 13", got, err)
	}
	for _, bad := range []string{"", "1 (x)", "1 (x) S 1 2 3", "1 (x) S 1 1 1 0 -1 1 1 0 0 0 a b 0 0"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
