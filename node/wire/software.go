package wire

import (
	"fmt"
	"slices"
	"strings"
)

// Software is what a head runs. Heads of one cluster should run the same.
type Software struct {
	Program string `json:"program,omitempty"` // version of masthead
	OS      string `json:"os,omitempty"`      // of the root: Debian GNU/Linux 13 (trixie)
	Kernel  string `json:"kernel,omitempty"`  // release
	Image   string `json:"image,omitempty"`   // digest of the root; empty: masthead has not booted it
	Slot    string `json:"slot,omitempty"`    // of an installed disk: a or b
	Data    string `json:"data,omitempty"`    // version of the data engine; empty: none is loaded
}

// Differences are the parts of the software in which heads differ, each as one line: "kernel: 6.1 on head1, 6.12 on
// head2". Slots may differ. What a head does not say is no difference. Pure.
func Differences(heads []HeadStatus) []string {
	var lines []string
	for _, part := range []struct {
		name string
		of   func(Software) string
	}{
		{"program", func(s Software) string { return s.Program }},
		{"OS", func(s Software) string { return s.OS }},
		{"kernel", func(s Software) string { return s.Kernel }},
		{"image", func(s Software) string { return shortDigest(s.Image) }},
		{"data engine", func(s Software) string { return s.Data }},
	} {
		var values []string
		on := map[string][]string{}
		for _, h := range heads {
			v := part.of(h.Software)
			if v == "" {
				continue
			}
			if on[v] == nil {
				values = append(values, v)
			}
			on[v] = append(on[v], h.Name)
		}
		if len(values) < 2 {
			continue
		}
		slices.Sort(values)
		words := make([]string, len(values))
		for i, v := range values {
			words[i] = fmt.Sprintf("%s on %s", v, strings.Join(on[v], ", "))
		}
		lines = append(lines, part.name+": "+strings.Join(words, "; "))
	}
	return lines
}

// shortDigest is the part of a digest that people compare.
func shortDigest(d string) string {
	h := strings.TrimPrefix(d, "sha256:")
	return h[:min(12, len(h))]
}
