package data

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"
)

// What mkfs makes is known again, and no device that holds something is called blank.
func TestFilesystemOn(t *testing.T) {
	for want, argv := range map[string][]string{"": nil, Btrfs: {"mkfs.btrfs", "-q"}, Ext4: {"mkfs.ext4", "-q", "-F"}} {
		path := filepath.Join(t.TempDir(), "disk")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(200 << 20); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if argv != nil {
			prerequisite.Programs(t, argv[0])
			if out, err := exec.Command(argv[0], append(argv[1:], path)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", argv, err, out)
			}
		}
		got, err := filesystemOn(path)
		if got != want || err != nil {
			t.Errorf("%v: got %q, %v, want %q", argv, got, err, want)
		}
		if empty, err := blank(path); empty != (want == "") || err != nil {
			t.Errorf("%v: blank %v, %v", argv, empty, err)
		}
	}
	if _, err := filesystemOn(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a device that is not there has none")
	}
}

func TestGeneration(t *testing.T) {
	tests := []struct{ out, want string }{
		{"0000000000000004:0000000000000000:0000000000000000:0000000000000000:0:0:0\n", newData},
		{"   found __DRBD_NODE__ in environment\n6BC8C51F8C9CE4B1:EA437F2F554B2C2C:902B72D33BA890A6:0000000000000004:1:1:1:0:0:0\n", "6BC8C51F8C9CE4B0"},
		{"6bc8c51f8c9ce4b0:0:0:0\n", "6BC8C51F8C9CE4B0"},
		{"", ""},
		{"drbd0: no such device\n", ""},
	}
	for _, tt := range tests {
		if got := generation(tt.out); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.out, got, tt.want)
		}
	}
}

// A program of LVM that changes something is never killed: it could leave a volume suspended.
func TestLVMIsNotKilled(t *testing.T) {
	for program, ends := range map[string]bool{"lvcreate": true, "lvs": false} {
		dir := t.TempDir()
		path, gate := filepath.Join(dir, program), filepath.Join(dir, "gate")
		if err := os.WriteFile(path, []byte("#!/bin/sh\nread word <\"$2\"\necho \"$word\"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(gate, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cmd := command(ctx, nil, []string{path, "--devices", gate})
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cancel()
		if ends {
			if err := os.WriteFile(gate, []byte("done\n"), 0); err != nil { // waits until it is read from
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); (err == nil) != ends || ends && out.String() != "done\n" {
			t.Errorf("%s: %v, %q", program, err, out.String())
		}
	}
}

// A device that does not answer holds nobody up for longer than was said.
func TestBounded(t *testing.T) {
	answers := make(chan string)
	do := func() (string, error) { return <-answers, nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := bounded(ctx, 0, do); got != "" || !errors.Is(err, errStuck) {
		t.Errorf("%q, %v", got, err)
	}
	answers <- "first" // for the one that was left
	go func() { answers <- "soon" }()
	if got, err := bounded(ctx, time.Minute, do); got != "soon" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// drbdadm quotes the command that failed, with the volume's key. What went wrong is logged and mailed, and the key is not.
func TestErrorsHaveNoKey(t *testing.T) {
	const (
		key  = "73684c42dda4baaeb844681843435beaf33baca655ceebb2"
		slow = "Command 'drbdsetup-84 connect data ipv4:10.77.0.1:7788 ipv4:10.77.0.2:7788 --cram-hmac-alg=sha256 --shared-secret=" + key + " --verify-alg=crc32c' did not terminate within 5 seconds"
	)
	said := "   found __DRBD_NODE__ in environment\n   PRETENDING that I am >>head1<<\n" + slow + "\n" // drbd-utils 9.22 on a kernel with DRBD 8.4
	err := toolError([]string{"drbdadm", "up", "data"}, said, errors.New("exit status 20"))
	if want := "drbdadm up data: exit status 20: " + strings.Replace(slow, key, "…", 1); err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
