package configuration

import "strings"

// DiffLines are the lines of two documents of which any differ, with "- ", "+ " or "  " before them, and up to three lines
// of context. None: they are the same.
func DiffLines(before, after string) []string {
	if before == after {
		return nil
	}
	a, b := lines(before), lines(after)
	// The longest common subsequence of lines; documents have hundreds at most.
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var all []string
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, "  "+a[i])
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			all = append(all, "- "+a[i])
			i++
		default:
			all = append(all, "+ "+b[j])
			j++
		}
	}
	return near(all)
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

// context is how many lines around a difference are shown.
const context = 3

// near drops the lines that are far from any difference.
func near(all []string) []string {
	keep := make([]bool, len(all))
	for i, line := range all {
		if line[0] != ' ' {
			for j := max(0, i-context); j <= min(len(all)-1, i+context); j++ {
				keep[j] = true
			}
		}
	}
	var out []string
	for i, line := range all {
		if keep[i] {
			out = append(out, line)
		}
	}
	return out
}
