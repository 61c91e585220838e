package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"masthead/vmtest/prerequisite"
)

// loosePort is a pseudo-terminal (pty(7)) that nobody speaks on.
func loosePort(t *testing.T) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	prerequisite.Have(t, err == nil, "/dev/ptmx")
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/dev/pts/%d", n)
}

// TestSerialTestAlone: where nobody answers it fails, whoever reads what it prints.
func TestSerialTestAlone(t *testing.T) {
	port := loosePort(t)
	for _, end := range []string{"--listen", "--send"} {
		for _, output := range []string{"text", "json"} {
			stdout, stderr, code := invoke(t, "serial", "test", end, "--time", "100ms", "-o", output, port)
			if code != exitFailed || stdout != "" || !strings.Contains(stderr, "error: nothing was heard\ntry: masthead serial test --") {
				t.Errorf("%s -o %s: exit code %d, %q\n%s", end, output, code, stdout, stderr)
			}
		}
	}
	// The other head puts together what both ends have heard.
	if _, stderr, code := invoke(t, "serial", "test", "--listen", "--nonce", "0123456789abcdef", "--time", "100ms", "-o", "json", port); code != 0 {
		t.Errorf("asked by the other head: exit code %d\n%s", code, stderr)
	}
}

func TestSerialTestFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--send", "--baud", "12345"}, "--baud: 12345 baud: want one of [9600 "},
		{[]string{"--listen", "--time", "-1s"}, "--time -1s: want more than 0"},
		{[]string{"head2", "--time", "0"}, "--time 0s: want more than 0"},
	} {
		_, stderr, code := invoke(t, append([]string{"serial", "test"}, tt.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, "try: masthead serial test --help") {
			t.Errorf("%v: exit code %d, want %d and %q\n%s", tt.args, code, exitUsage, tt.want, stderr)
		}
	}
}
