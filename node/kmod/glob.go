package kmod

import "strings"

// match is fnmatch(3) without flags, as libkmod matches device names against aliases: * and ? match any character,
// also a slash, and [a-f0] and [!a-f] one of a set. Unlike path.Match it never fails: a [ without ] is itself.
func match(pattern, s string) bool {
	// Only the last star needs to be tried again: an earlier one matched the least that it could.
	star, retry := -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, retry = p, i
			p++
			continue
		}
		if p < len(pattern) {
			if n, ok := matchOne(pattern[p:], s[i]); ok {
				p += n
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		retry++
		p, i = star+1, retry
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one character against the first element of a pattern, which has n bytes.
func matchOne(pattern string, c byte) (n int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	case '[':
		if n := setLen(pattern); n > 0 {
			return n, inSet(pattern[1:n-1], c)
		}
	}
	return 1, pattern[0] == c
}

// setLen is the length of the set that pattern begins with, or 0. A ] that comes first is a member.
func setLen(pattern string) int {
	start := 1
	if start < len(pattern) && (pattern[start] == '!' || pattern[start] == '^') {
		start++
	}
	if start >= len(pattern) {
		return 0
	}
	end := strings.IndexByte(pattern[start+1:], ']')
	if end < 0 {
		return 0
	}
	return start + 1 + end + 1
}

func inSet(set string, c byte) bool {
	negated := set != "" && (set[0] == '!' || set[0] == '^')
	if negated {
		set = set[1:]
	}
	found := false
	for i := 0; i < len(set); i++ {
		lo, hi := set[i], set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			hi = set[i+2]
			i += 2
		}
		found = found || lo <= c && c <= hi
	}
	return found != negated
}

// normal puts underscores for dashes outside sets, as libkmod's alias_normalize does with both sides of a comparison.
func normal(s string) string {
	if !strings.Contains(s, "-") {
		return s
	}
	b := []byte(s)
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '-':
			b[i] = '_'
		case '[':
			if end := strings.IndexByte(s[i:], ']'); end > 0 {
				i += end
			}
		}
	}
	return string(b)
}
