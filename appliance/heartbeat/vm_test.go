package heartbeat

import (
	"bufio"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"

	"masthead/appliance/failover"
	"masthead/vmtest/guestkernel"
	"masthead/vmtest/prerequisite"
	"masthead/vmtest/qemu"
)

// TestVMCable is a cable to a machine with a real kernel, whose serial port is QEMU's 16550A: testdata/guest is its PID 1
// and the other head. At our end the cable is a pseudo terminal, which QEMU makes.
func TestVMCable(t *testing.T) {
	if os.Getenv("MASTHEAD_VM") != "1" {
		t.Skip("MASTHEAD_VM is not 1")
	}
	prerequisite.Programs(t, "qemu-system-x86_64", "dpkg-deb", "depmod", "apt-get", "go")
	kernel, _ := guestkernel.Debian(t)
	args := []string{"-accel", string(qemu.HostAccelerator()), "-m", "256", "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-serial", "pty", "-kernel", kernel, "-initrd", guestInitramfs(t),
		"-append", "console=ttyS0 quiet panic=-1 test.key=" + hex.EncodeToString(testKey)}
	machine := exec.CommandContext(t.Context(), "qemu-system-x86_64", args...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	machine.Stdout, machine.Stderr = w, w
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	timer := time.AfterFunc(time.Minute, func() { machine.Process.Kill() })
	defer timer.Stop()
	var h *Heartbeat
	var console strings.Builder
	up := false
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		console.WriteString(line)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		line = strings.TrimSpace(line)
		if _, after, ok := strings.Cut(line, "char device redirected to "); ok {
			device, _, _ := strings.Cut(after, " ")
			h = start(t, cableConfig(0, device))
			h.Say(saying(10, 1))
		}
		if strings.HasPrefix(line, "UP") && h != nil {
			up = true
			await(t, "a second of heartbeats both ways", func() bool {
				l := h.Links()[0]
				return l.Good >= 10 && l.HeardUs == failover.Up && h.Said(1).BootID == 11
			})
			l := h.Links()[0]
			t.Logf("here:  %+v", l)
			if l.Garbled+l.Forged+l.Stale > 0 {
				t.Errorf("%+v", l)
			}
			s := saying(10, 1)
			s.Leaving = true
			h.Say(s)
		}
		if strings.HasPrefix(line, "LINK") {
			t.Log("there:", line)
			if !strings.Contains(line, "Carrier:up") || !strings.Contains(line, "HeardUs:up") {
				t.Error("the guest's end is not up")
			}
		}
	}
	if err := machine.Wait(); err != nil || !up || strings.Contains(console.String(), "FAILED") {
		t.Fatalf("%v\nqemu-system-x86_64 %s\n%s", err, strings.Join(args, " "), console.String())
	}
}

// guestInitramfs has the guest and nothing else: the kernel has its serial ports built in.
func guestInitramfs(t *testing.T) string {
	t.Helper()
	binary, path := filepath.Join(t.TempDir(), "guest"), filepath.Join(t.TempDir(), "initramfs")
	guestkernel.Command(t, "", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./testdata/guest")
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := cpio.NewWriter(f)
	if err := w.WriteHeader(&cpio.Header{Name: "init", Mode: 0o755 | cpio.TypeReg, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
