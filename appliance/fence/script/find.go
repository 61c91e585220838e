package script

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Find is the path of a program that is given by its name or path.
func Find(dirs []string, agent string) (string, error) {
	if filepath.IsAbs(agent) {
		if !executable(agent) {
			return "", fmt.Errorf("agent %s: is not a program", agent)
		}
		return agent, nil
	}
	if agent == "" || strings.ContainsAny(agent, "/\x00") {
		return "", fmt.Errorf("agent %q: must be the name or the whole path of a program", agent)
	}
	for _, dir := range dirs {
		if p := filepath.Join(dir, agent); executable(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("agent %s: is not in %s", agent, strings.Join(dirs, ", "))
}

// List is the names of all programs in dirs that are called fence_….
func List(dirs []string) []string {
	var names []string
	for _, dir := range dirs {
		found, _ := filepath.Glob(filepath.Join(dir, "fence_*")) // fails only for a pattern that is wrong
		for _, p := range found {
			if executable(p) {
				names = append(names, filepath.Base(p))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func executable(path string) bool {
	s, err := os.Stat(path)
	return err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0
}
