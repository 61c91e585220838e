package monitor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// When is a period of the Perl module Time::Period, which mon uses: sub-periods joined by commas, of which one must hold; in
// each, every scale that is named must hold, and of a scale's ranges one. The zero When is always.
//
// As in version 1.25 of the module. What that refuses is refused here, and so are two things that it lets pass: a scale
// without values, which is never true, and hours such as 13am.
type When struct {
	never bool
	sub   []map[scale][]span
}

// scale is one of the units of a period, by its code.
type scale string

// span is an inclusive range of values; from > to goes around the end, as from 10 p.m. to 4 a.m.
type span struct{ from, to int }

// unit is what a scale may hold. Values are kept as the module numbers them for people.
type unit struct {
	name     string
	min, max int
	words    []string // the values' names from min on; their first letters suffice
	letters  int
	value    func(time.Time) int
}

func units() map[scale]unit {
	months := []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	return map[scale]unit{
		"yr":  {"year", 0, 1 << 30, nil, 0, time.Time.Year},
		"mo":  {"month", 1, 12, months, 3, func(t time.Time) int { return int(t.Month()) }},
		"wk":  {"week", 1, 6, nil, 0, weekOfMonth},
		"yd":  {"yday", 1, 366, nil, 0, time.Time.YearDay},
		"md":  {"mday", 1, 31, nil, 0, time.Time.Day},
		"wd":  {"wday", 1, 7, []string{"su", "mo", "tu", "we", "th", "fr", "sa"}, 2, func(t time.Time) int { return int(t.Weekday()) + 1 }},
		"hr":  {"hour", 0, 23, nil, 0, time.Time.Hour},
		"min": {"minute", 0, 59, nil, 0, time.Time.Minute},
		"sec": {"second", 0, 59, nil, 0, time.Time.Second},
	}
}

// weekOfMonth counts from 1; a new week begins with each Sunday.
func weekOfMonth(t time.Time) int {
	first := (int(t.Weekday()) - (t.Day()-1)%7 + 7) % 7 // the weekday of the month's first day
	return (t.Day()-1+first)/7 + 1
}

// ParseWhen reads a period. An empty one is always, "none" is never.
func ParseWhen(text string) (When, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	switch s {
	case "":
		return When{}, nil
	case "none":
		return When{never: true}, nil
	}
	var w When
	for _, part := range strings.Split(strings.TrimRight(s, ", \t"), ",") {
		sub, err := parseSub(strings.TrimSpace(part))
		if err != nil {
			return When{}, fmt.Errorf("period %q: %w", text, err)
		}
		w.sub = append(w.sub, sub)
	}
	return w, nil
}

func parseSub(s string) (map[scale][]span, error) {
	if s == "" {
		return nil, fmt.Errorf("nothing stands before or after a comma")
	}
	sub, all := map[scale][]span{}, units()
	for s != "" {
		name, rest, ok := strings.Cut(s, "{")
		values, after, closed := strings.Cut(rest, "}")
		if !ok || !closed || strings.Contains(values, "{") {
			return nil, fmt.Errorf("%q is not SCALE {VALUES}, as wd {Mon-Fri}", s)
		}
		name = strings.TrimSpace(name)
		code := scale(name)
		for c, u := range all {
			if u.name == name {
				code = c
			}
		}
		u, ok := all[code]
		if !ok {
			return nil, fmt.Errorf("%q is no scale; there are yr, mo, wk, yd, md, wd, hr, min and sec", name)
		}
		ranges, err := parseRanges(code, u, values)
		if err != nil {
			return nil, err
		}
		sub[code] = append(sub[code], ranges...)
		s = strings.TrimSpace(after)
	}
	return sub, nil
}

func parseRanges(code scale, u unit, values string) ([]span, error) {
	// "Mon - Fri" is one range.
	values = strings.Join(strings.Fields(strings.ReplaceAll(values, "-", " - ")), " ")
	values = strings.ReplaceAll(values, " - ", "-")
	if values == "" {
		return nil, fmt.Errorf("%s {}: no value is named", code)
	}
	var out []span
	for _, text := range strings.Fields(values) {
		from, to, isRange := strings.Cut(text, "-")
		if !isRange {
			to = from
		}
		a, err := parseValue(code, u, from)
		if err != nil {
			return nil, err
		}
		b, err := parseValue(code, u, to)
		if err != nil {
			return nil, err
		}
		out = append(out, span{a, b})
	}
	return out, nil
}

func parseValue(code scale, u unit, s string) (int, error) {
	bad := fmt.Errorf("%s {%s}: %q is no %s", code, s, s, u.name)
	if code == "hr" {
		for _, half := range []struct {
			end string
			add int
		}{{"am", 0}, {"pm", 12}, {"noon", 12}} {
			n, ok := strings.CutSuffix(s, half.end)
			if !ok {
				continue
			}
			h, err := strconv.Atoi(n)
			if err != nil || h < 0 || h > 12 || n[0] == '+' || half.end == "noon" && h != 12 {
				return 0, bad
			}
			return h%12 + half.add, nil
		}
	}
	if n := u.letters; n > 0 && len(s) >= n && s[0] >= 'a' && s[0] <= 'z' {
		if i := slices.Index(u.words, s[:n]); i >= 0 {
			return u.min + i, nil
		}
		return 0, bad
	}
	v, err := strconv.Atoi(s)
	if err != nil || s[0] == '+' || v < u.min || v > u.max || code == "yr" && v > 99 && v < 1970 {
		return 0, bad
	}
	return v, nil
}

// Contains reports whether t, in its own location, is in the period.
func (w When) Contains(t time.Time) bool {
	if w.never {
		return false
	}
	if len(w.sub) == 0 {
		return true
	}
	all := units()
	return slices.ContainsFunc(w.sub, func(sub map[scale][]span) bool {
		for code, spans := range sub {
			v := all[code].value(t)
			if !slices.ContainsFunc(spans, func(s span) bool { return s.contains(code, v) }) {
				return false
			}
		}
		return true
	})
}

func (s span) contains(code scale, v int) bool {
	if code == "yr" {
		// Two digits are of this century, and a range does not go around the end.
		century := v / 100 * 100
		for _, p := range []*int{&s.from, &s.to} {
			if *p <= 99 {
				*p += century
			}
		}
		s.from, s.to = min(s.from, s.to), max(s.from, s.to)
	}
	if s.from > s.to {
		return v >= s.from || v <= s.to
	}
	return s.from <= v && v <= s.to
}
