package overlay

import (
	"fmt"
	"os"
	"strings"
)

// Upper is the folder of the upper layer of the root of this machine; empty: its root is no overlay. mountinfo is the file
// of that name (proc_pid_mountinfo(5)). A layer that the mounts name but that this process cannot reach is an error.
func Upper(mountinfo string) (string, error) {
	data, err := os.ReadFile(mountinfo)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		at, from := strings.Fields(before), strings.Fields(after)
		if !ok || len(at) < 5 || at[4] != "/" || len(from) < 3 || from[0] != "overlay" {
			continue
		}
		for option := range strings.SplitSeq(from[2], ",") {
			if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
				if _, err := os.Stat(upper); err != nil {
					return "", fmt.Errorf("what was written over the root: %w", err)
				}
				return upper, nil
			}
		}
	}
	return "", nil
}
