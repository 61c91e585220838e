package disk

import (
	"crypto/rand"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// GRUB knows fallback by the place of the entry: that of the slot that was not chosen.
func TestFallbackIsTheOtherSlot(t *testing.T) {
	table, err := Plan(8<<30, 512, DefaultSizes(8<<30), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Config{}.GRUB(table)
	if err != nil {
		t.Fatal(err)
	}
	var entries []string
	for _, m := range regexp.MustCompile(`menuentry .* --id (\S+)`).FindAllStringSubmatch(text, -1) {
		entries = append(entries, m[1])
	}
	got := map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)if \[ "\$start" = b \]; then\n  set fallback=(\d)\nelse\n  set start=a\n  set fallback=(\d)\nfi`).FindAllStringSubmatch(text, -1) {
		for i, start := range []string{"b", "a"} {
			got[start] = entries[strings.IndexByte("0123456789", m[i+1][0])]
		}
	}
	if d := cmp.Diff(map[string]string{"a": "slot-b", "b": "slot-a"}, got); d != "" {
		t.Errorf("fallback by what starts (-want +got):\n%s\n%s", d, text)
	}
}
