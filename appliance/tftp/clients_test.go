package tftp

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"
)

// TestClients fetches files of awkward sizes with clients that others wrote.
func TestClients(t *testing.T) {
	files := map[string][]byte{
		"empty": {}, "one": {7}, "block": random(512), "blocks": random(3 * 1428), "undionly.kpxe": random(70_001),
		"wrap.bin": random(512*65536 + 99), // block numbers of 512 bytes wrap
		"efi/x64":  random(1000),
	}
	r := start(t, Config{Files: FromMap(files)})
	out := filepath.Join(t.TempDir(), "out")
	url := fmt.Sprintf("tftp://%v/", r.addr)
	atftp := func(args ...string) []string {
		return append(append([]string{"atftp", "--get", "-l", out}, args...), "127.0.0.1", fmt.Sprint(r.addr.Port))
	}
	for _, tt := range []struct {
		name string
		args []string
		file string
	}{
		{"curl", []string{"curl", "-sSf", "-o", out, url + "undionly.kpxe"}, "undionly.kpxe"},
		{"curl, one byte", []string{"curl", "-sSf", "-o", out, url + "one"}, "one"},
		{"curl, whole blocks", []string{"curl", "-sSf", "--tftp-blksize", "1428", "-o", out, url + "blocks"}, "blocks"},
		{"curl, without options", []string{"curl", "-sSf", "--tftp-no-options", "-o", out, url + "undionly.kpxe"}, "undionly.kpxe"},
		{"curl, as a path", []string{"curl", "-sSf", "-o", out, url + "/undionly.kpxe"}, "undionly.kpxe"},
		{"atftp", atftp("-r", "undionly.kpxe"), "undionly.kpxe"},
		{"atftp, one block", atftp("-r", "block"), "block"},
		{"atftp, empty", atftp("-r", "empty"), "empty"},
		{"atftp, in a folder", atftp("-r", "/efi/x64"), "efi/x64"},
		{"atftp, blksize and tsize", atftp("--option", "blksize 1428", "--option", "tsize 0", "-r", "undionly.kpxe"), "undionly.kpxe"},
		{"atftp, blksize beyond the MTU", atftp("--option", "blksize 65464", "-r", "undionly.kpxe"), "undionly.kpxe"},
		{"atftp, numbers wrap", atftp("-r", "wrap.bin"), "wrap.bin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prerequisite.Program(t, tt.args[0])
			os.Remove(out)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if log, err := exec.CommandContext(ctx, tt.args[0], tt.args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%q: %v\n%s", tt.args, err, log)
			}
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if want := files[tt.file]; !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want %d, or others", len(got), len(want))
			}
			e := r.next(t)
			if e.Kind != KindSent || e.Bytes != int64(len(files[tt.file])) || e.Duration <= 0 || !e.Client.Addr().IsLoopback() || strings.TrimPrefix(e.Name, "/") != tt.file {
				t.Errorf("event %+v", e)
			}
		})
	}
}
