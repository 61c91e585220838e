package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"masthead/vmtest"
)

// A machine that the lab has not is answered with those that it has, and with what shows them.
func TestLabMachineThatIsNot(t *testing.T) {
	t.Setenv("MASTHEAD_CACHE", t.TempDir())
	dir, err := labDir("dark")
	if err != nil {
		t.Fatal(err)
	}
	config, err := vmtest.Config{Name: "dark", Machines: map[string]vmtest.MachineConfig{"a": {Off: true}, "b": {Off: true}}}.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	lab, err := vmtest.Up(t.Context(), config, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- lab.Serve(t.Context()) }()
	defer func() {
		if err := errors.Join(lab.Down(), <-served); err != nil {
			t.Error(err)
		}
	}()
	for {
		c, err := vmtest.Connect(t.Context(), dir)
		if err == nil {
			c.Close()
			break
		}
		select {
		case err := <-served:
			t.Fatal(err)
		case <-time.After(time.Millisecond): // until its socket is there
		}
	}
	for _, words := range []string{"console c", "fault power-cut c", "fault cut-link c:0"} {
		_, stderr, code := invoke(t, append([]string{"--lab", "dark", "lab"}, strings.Fields(words)...)...)
		if code != exitFailed || !strings.Contains(stderr, `no machine "c" in lab dark, which has a, b`) || !strings.Contains(stderr, "masthead --lab dark lab status\n") {
			t.Errorf("%s: exit code %d: %s", words, code, stderr)
		}
	}
}
