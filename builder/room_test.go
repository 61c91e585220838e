package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What has no room is told before it is written where its size is known, and else with what is free.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	err := RoomFor(dir, 1<<60)
	if err == nil || !strings.HasPrefix(err.Error(), dir+" has ") || !strings.HasSuffix(err.Error(), " MiB free, 1099511627776 MiB needed") {
		t.Errorf("got %v", err)
	}
	if err := RoomFor(dir, 1); err != nil {
		t.Errorf("one byte: %v", err)
	}

	write := &fs.PathError{Op: "write", Path: dir + "/tmp-1", Err: unix.ENOSPC}
	err = fmt.Errorf("build a: %w", full(fmt.Errorf("seal the root: %w", write), "/nowhere", 5<<20))
	var try interface{ Try() string }
	if !errors.Is(err, unix.ENOSPC) || !errors.As(err, &try) || !strings.Contains(try.Try(), "df -h "+dir) || !strings.Contains(try.Try(), "--store") ||
		!strings.HasPrefix(err.Error(), "build a: seal the root: write "+dir+"/tmp-1: no space left on device: "+dir+" has ") || !strings.HasSuffix(err.Error(), "free, 5 MiB needed") {
		t.Errorf("got %v", err)
	}
	if again := full(err, dir, 0); again != err {
		t.Errorf("told twice: %v", again)
	}
	other := errors.New("x")
	if got := full(other, dir, 0); got != other {
		t.Errorf("got %v, want what it was", got)
	}
}
