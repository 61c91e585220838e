package disk

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever a command line is, what GRUB's script has of it is quoted words, and the kernel gets the same words.
func TestWordsKeepTheCommandLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.StringMatching(`[a-z.]{1,8}(=[a-z${};&|#(), ]{0,8})?`)).Draw(t, "words")
		var line, want []string
		for _, p := range parts {
			want = append(want, "'"+p+"'")
			if strings.Contains(p, " ") {
				p = `"` + p + `"`
			}
			line = append(line, p)
		}
		got, err := Words(strings.Join(line, " "))
		if err != nil {
			t.Fatal(err)
		}
		if got != strings.Join(want, " ") {
			t.Fatalf("%q becomes %s, want %s", line, got, want)
		}
	})
}
