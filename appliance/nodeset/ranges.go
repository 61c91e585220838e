package nodeset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxDigits keeps every number of a name inside an int64.
const maxDigits = 18

// expand gives the names that a word with any number of [ranges] stands for, the last range running fastest.
func expand(text string) ([]string, error) {
	names := []string{""}
	for rest := text; rest != ""; {
		literal, tail, bracket := strings.Cut(rest, "[")
		for i := range names {
			names[i] += literal
		}
		if !bracket {
			break
		}
		inner, tail, ok := strings.Cut(tail, "]")
		if !ok {
			return nil, errors.New("[ without ]")
		}
		values, err := expandRanges(inner)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		if len(names)*len(values) > maxNames {
			return nil, fmt.Errorf("%q: more than %d names", text, maxNames)
		}
		product := make([]string, 0, len(names)*len(values))
		for _, n := range names {
			for _, v := range values {
				product = append(product, n+v)
			}
		}
		names, rest = product, tail
	}
	for _, n := range names {
		if !name.MatchString(n) {
			return nil, fmt.Errorf("%q is not a node name: want a-z, 0-9, dot, dash, underscore", n)
		}
	}
	return names, nil
}

// expandRanges gives the numbers of "01-03,7,10-20/5" as they are written.
func expandRanges(text string) ([]string, error) {
	var out []string
	for _, part := range strings.Split(text, ",") {
		bounds, stepText, hasStep := strings.Cut(part, "/")
		lo, hi, isRange := strings.Cut(bounds, "-")
		if !isRange {
			hi = lo
		}
		from, err1 := number(lo)
		to, err2 := number(hi)
		step, err3 := int64(1), error(nil)
		if hasStep {
			step, err3 = number(stepText)
		}
		if err := cmp.Or(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("range %q: %w", part, err)
		}
		if from > to || step < 1 {
			return nil, fmt.Errorf("range %q runs backwards", part)
		}
		if (to-from)/step >= maxNames || len(out) > maxNames {
			return nil, fmt.Errorf("range %q: more than %d names", part, maxNames)
		}
		for n := from; n <= to; n += step {
			out = append(out, pad(n, padding(lo)))
		}
	}
	return out, nil
}

func number(s string) (int64, error) {
	if s == "" || len(s) > maxDigits || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return strconv.ParseInt(s, 10, 64)
}

// padding is the width that the first number of a range asks for: only a leading zero asks for any.
func padding(digits string) int {
	if len(digits) > 1 && digits[0] == '0' {
		return len(digits)
	}
	return 0
}

func pad(n int64, width int) string { return fmt.Sprintf("%0*d", width, n) }

// parsed is a name cut at its last number, which is what counts the nodes of a cluster.
type parsed struct {
	prefix, digits, suffix string
	n                      int64
}

func parse(name string) parsed {
	end := strings.LastIndexAny(name, "0123456789") + 1
	start := end
	for start > 0 && name[start-1] >= '0' && name[start-1] <= '9' && end-start < maxDigits {
		start--
	}
	p := parsed{prefix: name[:start], digits: name[start:end], suffix: name[end:]}
	if p.digits != "" {
		p.n, _ = strconv.ParseInt(p.digits, 10, 64) // at most 18 digits: cannot fail
	}
	return p
}

func compare(a, b parsed) int {
	return cmp.Or(strings.Compare(a.prefix, b.prefix), strings.Compare(a.suffix, b.suffix), cmp.Compare(a.n, b.n),
		cmp.Compare(len(a.digits), len(b.digits)))
}

// Compare orders names as people count: n9 before n10.
func Compare(a, b string) int { return cmp.Or(compare(parse(a), parse(b)), strings.Compare(a, b)) }

// Fold writes names as a set, short: n[01-03,07],x. Names gives the same names back.
func Fold(names []string) string {
	all := make([]parsed, 0, len(names))
	for _, n := range names {
		all = append(all, parse(n))
	}
	slices.SortFunc(all, compare)
	all = slices.Compact(all)
	var out []string
	for len(all) > 0 {
		end := 1
		for end < len(all) && all[end].prefix == all[0].prefix && all[end].suffix == all[0].suffix && all[0].digits != "" {
			end++
		}
		out = append(out, foldOne(all[:end]))
		all = all[end:]
	}
	return strings.Join(out, ",")
}

// foldOne writes names that differ in their number only.
func foldOne(group []parsed) string {
	first := group[0]
	if len(group) == 1 {
		return first.prefix + first.digits + first.suffix
	}
	var ranges []string
	for i := 0; i < len(group); {
		width := padding(group[i].digits)
		end := i + 1
		for end < len(group) && group[end].n == group[end-1].n+1 && group[end].digits == pad(group[end].n, width) {
			end++
		}
		r := group[i].digits
		if end-i > 1 {
			r += "-" + group[end-1].digits
		}
		ranges = append(ranges, r)
		i = end
	}
	return first.prefix + "[" + strings.Join(ranges, ",") + "]" + first.suffix
}
