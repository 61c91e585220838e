package tools

import (
	"os"
	"path/filepath"
	"strings"
)

// complete is what Tab does: the word before the cursor becomes the longest that all its candidates begin with.
func (sh *shell) complete(line string, pos int) (string, int) {
	start := strings.LastIndexAny(line[:pos], " ;|&<>=") + 1
	word := line[start:pos]
	var found []string
	if first := strings.TrimSpace(line[:start]); !strings.Contains(word, "/") &&
		(first == "" || strings.HasSuffix(first, ";") || strings.HasSuffix(first, "|") || strings.HasSuffix(first, "&")) {
		for _, t := range sh.tools.table {
			if strings.HasPrefix(t.Name, word) {
				found = append(found, t.Name+" ")
			}
		}
	} else {
		found = filesFor(sh.dir(), word)
	}
	full := commonPrefix(found)
	if len(full) <= len(word) {
		return line, pos
	}
	return line[:start] + full + line[pos:], start + len(full)
}

// filesFor lists the files that word may begin.
func filesFor(dir, word string) []string {
	parent, base := filepath.Split(word)
	at := parent
	if !filepath.IsAbs(at) {
		at = filepath.Join(dir, at)
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) || (base == "" && strings.HasPrefix(e.Name(), ".")) {
			continue
		}
		end := " "
		if fi, err := os.Stat(filepath.Join(at, e.Name())); err == nil && fi.IsDir() {
			end = "/"
		}
		found = append(found, parent+e.Name()+end)
	}
	return found
}

func commonPrefix(words []string) string {
	if len(words) == 0 {
		return ""
	}
	p := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, p) {
			p = p[:len(p)-1]
		}
	}
	return p
}
