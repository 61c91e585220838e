package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWrites(t *testing.T) {
	text := "0.000 0 ok\n0.100 1 ok\n1.300 2 lost: no answer\n2.100 3 ok\n2.200 50 lost: no answer\n"
	w, err := parseWrites(text)
	if err != nil {
		t.Fatal(err)
	}
	if w.acknowledged != 3 || w.lost != 2 || w.gap != 2*time.Second {
		t.Errorf("%d acknowledged, %d lost, gap %v", w.acknowledged, w.lost, w.gap)
	}
	for _, test := range []struct {
		name  string
		attrs map[string]string
		want  []string
	}{
		{"all there", map[string]string{"lab-00": "0", "lab-01": "1", "lab-03": "3"}, nil},
		{"the lost ones too", map[string]string{"lab-00": "50", "lab-01": "1", "lab-02": "2", "lab-03": "3"}, nil},
		{"one gone, one old", map[string]string{"lab-00": "0", "lab-03": "-5"}, []string{"lab-01", "lab-03"}},
		{"another's value", map[string]string{"lab-00": "x", "lab-01": "1", "lab-03": "3"}, []string{"lab-00"}},
	} {
		if diff := cmp.Diff(test.want, w.missing(test.attrs)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	for _, bad := range []string{"", "0.1 x ok\n", "x 1 ok\n", "error: no head\n"} {
		if _, err := parseWrites(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
