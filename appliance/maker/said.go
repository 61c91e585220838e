package maker

import (
	"errors"
	"fmt"
	"strings"
)

// SaidError is the error of another run of this program, of what it has said on standard error and its exit status: its last
// "error: ", with its "try: " as what to type next (Try). Where it has said no error it is all that was said. Pure.
func SaidError(said string, exit int) error {
	var what, try string
	for text := range strings.Lines(said) {
		text = strings.TrimSpace(text)
		if s, ok := strings.CutPrefix(text, "error: "); ok {
			what, try = s, ""
		} else if s, ok := strings.CutPrefix(text, "try: "); ok {
			try = s
		}
	}
	if what == "" {
		return fmt.Errorf("exit status %d: %s", exit, strings.TrimSpace(said))
	}
	return &refusal{errors.New(what), try}
}
