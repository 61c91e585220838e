package appliance

import (
	"testing"
	"time"

	"masthead/node/wire"
)

func TestHeadNumber(t *testing.T) {
	at := func(n, minute int) wire.HeadRecord {
		return wire.HeadRecord{Number: n, Joined: time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)}
	}
	for _, test := range []struct {
		name  string
		heads map[string]wire.HeadRecord
		want  int
	}{
		{"the first", nil, 1},
		{"keeps its own", map[string]wire.HeadRecord{"a": at(3, 0), "b": at(1, 1)}, 3},
		{"a new one gets the lowest free", map[string]wire.HeadRecord{"b": at(1, 0), "c": at(3, 1)}, 2},
		{"the older keeps it", map[string]wire.HeadRecord{"a": at(2, 0), "b": at(2, 1)}, 2},
		{"the younger takes another", map[string]wire.HeadRecord{"a": at(2, 1), "b": at(2, 0)}, 1},
		{"joined at once: by name", map[string]wire.HeadRecord{"a": at(1, 0), "A": at(1, 0)}, 2},
	} {
		if got := headNumber("a", test.heads); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}
