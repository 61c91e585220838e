package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// writes is what the lab's client said of its writes.
type writes struct {
	acknowledged, lost int
	gap                time.Duration           // the longest between two acknowledged ones
	may                map[string]map[int]bool // by attribute: the values that it may have now
}

// parseWrites reads what the client printed. An attribute has the last value that was acknowledged, or one that was written
// later and of which nobody knows: the answer was lost, not the write.
func parseWrites(text string) (writes, error) {
	w := writes{may: map[string]map[int]bool{}}
	last := -1.0
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.SplitN(line, " ", 3)
		if len(f) != 3 {
			return w, fmt.Errorf("the client said %q", line)
		}
		at, err := strconv.ParseFloat(f[0], 64)
		if err != nil {
			return w, fmt.Errorf("the client said %q: %w", line, err)
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return w, fmt.Errorf("the client said %q: %w", line, err)
		}
		key := clientKey(n)
		if f[2] != "ok" {
			w.lost++
			if w.may[key] == nil {
				w.may[key] = map[int]bool{-1: true} // it may not be there at all
			}
			w.may[key][n] = true
			continue
		}
		w.acknowledged++
		w.may[key] = map[int]bool{n: true}
		if last >= 0 {
			w.gap = max(w.gap, time.Duration((at-last)*float64(time.Second)))
		}
		last = at
	}
	return w, nil
}

// missing names the attributes that have lost an acknowledged write.
func (w writes) missing(attrs map[string]string) []string {
	var all []string
	for n := range clientKeys {
		key := clientKey(n)
		allowed, written := w.may[key]
		if !written {
			continue
		}
		value := -1
		if text, ok := attrs[key]; ok {
			var err error
			if value, err = strconv.Atoi(text); err != nil {
				value = -2 // nothing that we wrote
			}
		}
		if !allowed[value] {
			all = append(all, key)
		}
	}
	return all
}
