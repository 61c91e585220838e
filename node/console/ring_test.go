package console

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRing(t *testing.T) {
	type taken struct {
		Line    string
		Dropped int
	}
	tests := []struct {
		name string
		max  int
		add  []string
		want []taken
	}{
		{"empty", 8, nil, nil},
		{"in order", 8, []string{"a\n", "b\n"}, []taken{{"a\n", 0}, {"b\n", 0}}},
		{"exactly full", 4, []string{"a\n", "b\n"}, []taken{{"a\n", 0}, {"b\n", 0}}},
		{"oldest goes", 4, []string{"a\n", "b\n", "c\n"}, []taken{{"b\n", 1}, {"c\n", 0}}},
		{"several go for a long one", 4, []string{"a\n", "b\n", "ccc\n"}, []taken{{"ccc\n", 2}}},
		{"longer than the ring", 4, []string{"a\n", "123456\n"}, []taken{{"1234", 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := ring{max: tt.max}
			for _, l := range tt.add {
				r.add([]byte(l))
			}
			var got []taken
			for {
				line, dropped, ok := r.take()
				if !ok {
					break
				}
				got = append(got, taken{string(line), dropped})
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if r.size != 0 {
				t.Errorf("size is %d after all was taken", r.size)
			}
		})
	}
}
