package module

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func (x *Index) names(s Selection) []string {
	var names []string
	for _, i := range s.Load {
		names = append(names, x.Modules[i].Name)
	}
	return names
}

func TestSelect(t *testing.T) {
	x := fakeIndex(t)
	for _, tt := range []struct {
		title   string
		class   Class
		want    string
		builtin []string
	}{
		{"dependencies, soft ones by alias, those after", Class{Take: []string{"nic"}}, "after bus_core fast nic ring slow", nil},
		{"a directory", Class{Take: []string{"lib/**"}}, "bus_core ring", nil},
		{"names, and what is left out", Class{Take: []string{"*o*"}, Leave: []string{"bus-core"}}, "lonely slow", nil},
		{"a path", Class{Take: []string{"crypto/f*"}}, "fast", nil},
		{"a pattern that matches nothing", Class{Take: []string{"none", "none/**"}}, "", nil},
		{"built in", Class{Need: []string{"in-kernel", "ring"}}, "bus_core ring", []string{"in_kernel"}},
	} {
		t.Run(tt.title, func(t *testing.T) {
			sel, err := x.Select([]Class{tt.class})
			if err != nil {
				t.Fatal(err)
			}
			names := x.names(sel)
			for i, m := range sel.Load {
				for _, d := range x.Modules[m].Deps {
					if !slices.Contains(sel.Load[:i], d) {
						t.Errorf("%s comes before %s", x.Modules[m].Name, x.Modules[d].Name)
					}
				}
			}
			slices.Sort(names)
			if diff := cmp.Diff(tt.want, strings.Join(names, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.builtin, sel.Builtin); diff != "" {
				t.Errorf("built in (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelectNeed(t *testing.T) {
	_, err := fakeIndex(t).Select([]Class{{Name: "root", Reason: "why", Need: []string{"nbd", "nic", "erofs"}}})
	for _, want := range []string{"nbd", "erofs", "why"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error: %v, want %q", err, want)
		}
	}
}

func TestFirmware(t *testing.T) {
	x := fakeIndex(t)
	sel, err := x.Select([]Class{{Take: []string{"nic", "lonely"}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"nic/fw.bin", "nic/none.bin"}, x.Firmware(sel)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
