package vmtest

import (
	"regexp"
	"testing"
)

func TestTimerPanic(t *testing.T) {
	// As a guest's console shows it.
	const line = "[    0.068000] ---[ end Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.  Then try booting with the 'noapic' option. ]---"
	if !regexp.MustCompile(timerPanic).MatchString(line) {
		t.Errorf("%q does not match %q", timerPanic, line)
	}
}
