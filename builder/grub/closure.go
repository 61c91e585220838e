package grub

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// closure lists the modules and all that they depend on, each behind what it needs: GRUB links them in this order.
func closure(dir fs.FS, want []string) ([]string, error) {
	data, err := fs.ReadFile(dir, "moddep.lst")
	if err != nil {
		return nil, err
	}
	needs, err := parseDependencies(data)
	if err != nil {
		return nil, fmt.Errorf("moddep.lst: %w", err)
	}
	var order []string
	done := make(map[string]bool)
	var add func(name string, path []string) error
	add = func(name string, path []string) error {
		if done[name] {
			return nil
		}
		if _, ok := needs[name]; !ok {
			return fmt.Errorf("module %s is not in moddep.lst", strings.Join(append(path, name), " → "))
		}
		done[name] = true
		for _, n := range slices.Backward(needs[name]) { // as grub-mkimage, so that both give the same
			if err := add(n, append(path, name)); err != nil {
				return err
			}
		}
		order = append(order, name)
		return nil
	}
	for _, name := range want {
		if err := add(name, nil); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// parseDependencies reads lines "module: needed needed".
func parseDependencies(data []byte) (map[string][]string, error) {
	needs := make(map[string][]string)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		name, list, ok := strings.Cut(lines.Text(), ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("line %d: want MODULE: NEEDED…", n)
		}
		needs[name] = strings.Fields(list)
	}
	return needs, lines.Err()
}
