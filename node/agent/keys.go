package agent

import (
	"slices"
	"strings"
)

// withKeys changes the keys in an authorized_keys file from those that the heads gave before to those that they give
// now. What stands there besides, from the image or by hand, stays.
func withKeys(text string, before, now []string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return l == "" || (slices.Contains(before, l) && !slices.Contains(now, l))
	})
	for _, key := range now {
		if !slices.Contains(lines, key) {
			lines = append(lines, key)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
