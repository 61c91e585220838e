package httpboot

import (
	"errors"
	"fmt"
	"strings"
)

// maxCmdline is the longest command line that an x86 kernel takes (COMMAND_LINE_SIZE in
// arch/x86/include/asm/setup.h, 2048 with the final NUL; what is longer is cut without a word).
const maxCmdline = 2047

// CheckCmdline reports whether kernel arguments survive the way through an iPXE script. iPXE (src/core/exec.c) splits
// a line at white space, knows no quotes, joins the parts with single spaces, ends the command at ||, &&, ; and at what
// begins with #, and expands ${…}, which nothing escapes.
func CheckCmdline(s string) error {
	quoted := false
	for i, c := range s {
		switch {
		case c < ' ' || c > '~':
			return fmt.Errorf("%q at %d: only printable ASCII survives the boot loader", c, i)
		case c == '"':
			quoted = !quoted
		case quoted && c == ' ' && (s[i-1] == ' ' || s[i-1] == '"'):
			return errors.New("the boot loader does not keep several spaces, or one at the beginning, in quotes")
		}
	}
	if quoted {
		return errors.New(`a " without its pair`)
	}
	if strings.Contains(s, "${") {
		return errors.New("the boot loader would expand ${")
	}
	for _, word := range strings.Fields(s) {
		switch {
		case word == "||" || word == "&&" || word == ";" || word[0] == '#':
			return fmt.Errorf("the boot loader would end the command at %s", word)
		case strings.HasPrefix(word, "initrd="):
			return errors.New("initrd= is set by the boot script")
		}
	}
	if len(s) > maxCmdline {
		return fmt.Errorf("%d bytes, the kernel takes %d", len(s), maxCmdline)
	}
	return nil
}
