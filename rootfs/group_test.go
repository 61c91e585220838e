package rootfs

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type rowItem struct {
	name string
	size int64
}

// cut gives the names of each group.
func (s shape) cut(row []rowItem) (cut [][]string) {
	begin := 0
	for _, end := range s.groups(len(row), func(i int) (string, int64) { return row[i].name, row[i].size }) {
		var names []string
		for _, it := range row[begin:end] {
			names = append(names, it.name)
		}
		cut, begin = append(cut, names), end
	}
	return cut
}

func drawRow(t *rapid.T) []rowItem {
	sizes := rapid.SliceOfN(rapid.Int64Range(1, 3000), 0, 400).Draw(t, "sizes")
	row := make([]rowItem, len(sizes))
	for i, n := range sizes {
		row[i] = rowItem{fmt.Sprintf("file-%d", i), n}
	}
	return row
}

var testShape = shape{least: 1000, one: 8, most: 6000, lone: 2500, step: 1}

func TestGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		row := drawRow(t)
		at := 0
		for _, g := range testShape.cut(row) {
			var size int64
			for _, name := range g {
				if row[at].name != name {
					t.Fatalf("%s where %s should be", name, row[at].name)
				}
				if size += row[at].size; row[at].size >= testShape.lone && len(g) > 1 {
					t.Fatalf("%s of %d bytes is with %d others", name, row[at].size, len(g)-1)
				}
				at++
			}
			if size > testShape.most && len(g) > 1 {
				t.Fatalf("%d bytes in a group", size)
			}
		}
		if at != len(row) {
			t.Fatalf("%d of %d", at, len(row))
		}
	})
}

// TestGroupsAreLocal changes one item of a row: far from it the groups are the same.
func TestGroupsAreLocal(t *testing.T) {
	row := make([]rowItem, 20_000)
	for i := range row {
		row[i] = rowItem{fmt.Sprintf("file-%d", i), int64(nameHash(fmt.Sprint(i)) % 1000)}
	}
	before := map[string]bool{}
	for _, g := range testShape.cut(row) {
		before[fmt.Sprint(g)] = true
	}
	worst := 0
	for at := 5; at < len(row); at += 997 {
		for _, with := range [][]rowItem{nil, {{"new", 300}, row[at]}, {{row[at].name, row[at].size + 400}}, {{"big", 1e6}, row[at]}} {
			other := slices.Concat(row[:at], with, row[at+1:])
			fresh := 0
			for _, g := range testShape.cut(other) {
				if !before[fmt.Sprint(g)] {
					fresh++
				}
			}
			worst = max(worst, fresh)
		}
	}
	if worst > 12 || worst == 0 {
		t.Errorf("one item changes up to %d groups", worst)
	}
}

func TestRoom(t *testing.T) {
	for _, tt := range []struct{ n, step, want int64 }{
		{0, 1, 0}, {1, 1, 1}, {4, 1, 4}, {5, 1, 5}, {9, 1, 10}, {1, 8, 8}, {9, 8, 16}, {33, 8, 40}, {65, 8, 80}, {80, 8, 80}, {1500, 8, 1536}, {1537, 8, 1792},
	} {
		if got := room(tt.n, tt.step); got != tt.want {
			t.Errorf("room(%d, %d) = %d, want %d", tt.n, tt.step, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 1<<40).Draw(t, "n")
		if r := room(n, 1); r < n || r > n+n/4 || room(r, 1) != r || room(n+1, 1) < r {
			t.Errorf("room(%d) = %d", n, r)
		}
	})
}
