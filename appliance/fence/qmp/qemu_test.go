package qmp

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"
)

// TestQEMU fences a real QEMU whose processor executes a loop: the proof, then the process gone.
func TestQEMU(t *testing.T) {
	qemu := prerequisite.Program(t, "qemu-system-x86_64")
	// A boot sector that jumps to itself: a guest that runs, and does nothing.
	disk := filepath.Join(t.TempDir(), "loop.img")
	sector := make([]byte, 512)
	copy(sector, []byte{0xeb, 0xfe})
	sector[510], sector[511] = 0x55, 0xaa
	if err := os.WriteFile(disk, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().String()
	l.Close()
	socket := filepath.Join(t.TempDir(), "qmp")
	for _, address := range []string{socket, port} {
		// Two sockets, as two heads need.
		cmd := exec.Command(qemu, "-nodefaults", "-display", "none", "-m", "16", "-accel", "tcg", "-name", "head2",
			"-drive", "format=raw,file="+disk, "-qmp", "unix:"+socket+",server=on,wait=off", "-qmp", "tcp:"+port+",server=on,wait=off")
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		gone := make(chan error, 1)
		go func() { gone <- cmd.Wait() }()
		defer func() { cmd.Process.Kill() }()

		m, err := New(map[string]string{"address": address, "plug": "head2"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		on, err := m.On(ctx)
		for err != nil && ctx.Err() == nil { // QEMU starts
			time.Sleep(20 * time.Millisecond)
			on, err = m.On(ctx)
		}
		if !on || err != nil {
			t.Fatalf("after the start: on %v, %v", on, err)
		}
		began := time.Now()
		if err := m.Off(ctx); err != nil {
			t.Fatal(err)
		}
		if on, err := m.On(ctx); on || err != nil {
			t.Fatalf("after stop: on %v, %v", on, err)
		}
		proof := time.Since(began)
		if err := m.Off(ctx); err != nil { // once more does no harm
			t.Error(err)
		}
		if err := m.Finish(ctx); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-gone:
			if err != nil && !errors.As(err, new(*exec.ExitError)) {
				t.Error(err)
			}
		case <-ctx.Done():
			t.Fatal("QEMU did not quit")
		}
		t.Logf("%s: proof after %v, gone after %v", m.network, proof, time.Since(began))
		// And now nobody is there, which is no off.
		if on, err := m.On(ctx); err == nil {
			t.Errorf("after the end: on %v without an error", on)
		}
	}
}
