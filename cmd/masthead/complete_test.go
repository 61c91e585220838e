package main

import (
	"slices"
	"strings"
	"testing"
)

// TestComplete asks for completions as a shell does, of a head and without one.
func TestComplete(t *testing.T) {
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"node roll ", []string{"@all", "n01", "n02", "needs-reboot=true"}},
		{"node roll n01 ", nil},
		{"node roll --method ", []string{"auto", "kexec", "reboot", "soft"}},
		{"node roll --tag ", []string{"worker"}},
		{"image capture --tag ", []string{"worker"}},
		{"image diff worker ", []string{"head", "worker"}},
	} {
		out, _, err := runOnHead(t, newRollHead("n01", "n02"), append([]string{"__complete"}, strings.Split(tt.args, " ")...)...)
		got := strings.Fields(out)
		slices.Sort(got)
		if want := append([]string{":4"}, tt.want...); err != nil || !slices.Equal(got, want) { // :4 is ShellCompDirectiveNoFileComp
			t.Errorf("%s: %q, %v, want %q", tt.args, got, err, want)
		}
	}
}
