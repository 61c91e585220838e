package watchdog

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDevices(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	class := fstest.MapFS{
		"watchdog0/identity": file("Software Watchdog"), "watchdog0/nowayout": file("0"),
		"watchdog10/identity": file("iTCO_wdt"), "watchdog10/nowayout": file("1"),
		"watchdog2/identity": file("i6300ESB timer"), "watchdog2/nowayout": file("0"),
		"watchdog3/dev":    file("248:3"), // a kernel without the attributes
		"something/else":   file(""),
		"watchdogs/number": file(""),
	}
	got, err := devices(class)
	if err != nil {
		t.Fatal(err)
	}
	want := []device{{"watchdog2", "i6300ESB timer", false}, {"watchdog3", "", false}, {"watchdog10", "iTCO_wdt", true}, {"watchdogs", "", false},
		{"watchdog0", "Software Watchdog", false}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(device{})); diff != "" {
		t.Error(diff)
	}
	if got, err := devices(fstest.MapFS{}); len(got) > 0 || err != nil {
		t.Errorf("of an empty class: %v, %v", got, err)
	}
}

// TestNone is a device that is no watchdog, and one that does not exist.
func TestNone(t *testing.T) {
	for _, c := range []struct{ device, want string }{
		{"/dev/null", "WDIOC_GETSUPPORT"},
		{"/dev/watchdog77", "no such file"},
	} {
		w, err := Open(Config{Device: c.device})
		var none *NoneError
		if w != nil || !errors.As(err, &none) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.device) {
			t.Errorf("%s: %v, %v", c.device, w, err)
		}
	}
	if _, err := Open(Config{Timeout: -1}); err == nil {
		t.Error("a timeout of -1 is taken")
	}
}
