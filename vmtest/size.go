package vmtest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written 512, 64K, 100M or 2G (powers of 1024).
type Size int64

const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// ParseSize reads a size.
func ParseSize(s string) (Size, error) {
	unit := Size(1)
	digits := s
	for suffix, u := range map[string]Size{"K": KiB, "M": MiB, "G": GiB} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = d, u
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
		return 0, fmt.Errorf("size %q: want a number of bytes, or one with K, M or G", s)
	}
	return Size(n) * unit, nil
}
