package watchdog_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/initramfs"
	"masthead/rootfs/kernel"
	"masthead/rootfs/kernel/kerneltest"
	"masthead/rootfs/module"
	"masthead/vmtest/guestkernel"
	"masthead/vmtest/prerequisite"
)

// TestVMWatchdog boots a machine with a watchdog of its hardware, and one without. testdata/guest is PID 1: it lives while
// the watchdog is fed and after it was closed in order, and is reset soon after the process that feeds was killed.
func TestVMWatchdog(t *testing.T) {
	if os.Getenv("MASTHEAD_VM") != "1" {
		t.Skip("MASTHEAD_VM is not 1")
	}
	prerequisite.Programs(t, "qemu-system-x86_64", "go")
	k := kerneltest.Debian(t, kernel.Debian{Package: kernel.Generic}) // the cloud kernel has no driver for i6300esb
	dir := t.TempDir()
	initrd, image := filepath.Join(dir, "initramfs"), filepath.Join(dir, "vmlinuz")
	writeInitramfs(t, k, initrd)
	r, err := k.Image.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		args    []string
		cmdline string
		want    string
	}{
		// softdog is loaded first and must not be taken.
		{"i6300esb", []string{"-device", "i6300esb", "-action", "watchdog=reset"}, " test.load=softdog test.load=i6300esb", "i6300ESB timer (/dev/watchdog1), 2s"},
		{"softdog", nil, "", "Software Watchdog (/dev/watchdog0), 2s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"-accel", "tcg", "-machine", "q35", "-m", "384", "-smp", "1", "-nodefaults", "-display", "none", "-no-reboot",
				"-serial", "stdio", "-kernel", image, "-initrd", initrd,
				"-append", "console=ttyS0 panic=-1 quiet" + c.cmdline}, c.args...)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			out, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).CombinedOutput()
			var said []string
			for line := range strings.Lines(string(out)) {
				if _, after, ok := strings.Cut(line, "WATCHDOG "); ok {
					said = append(said, strings.TrimSpace(after))
				}
			}
			story := strings.Join(said, "\n")
			t.Logf("%.1f s in all\n%s", time.Since(start).Seconds(), story)
			if err != nil || strings.Contains(story, "FAILED") {
				t.Fatalf("%v\nqemu-system-x86_64 %s\n%s", err, strings.Join(args, " "), out)
			}
			for _, want := range []string{"OPENED " + c.want, "LIVES while it is fed", "LIVES after an orderly end", "KILLED"} {
				if !strings.Contains(story, want) {
					t.Errorf("the guest does not say %q", want)
				}
			}
			// The last Feed was up to half a second before the kill.
			if n := strings.Count(story, "WAITS"); n < 1 || n > 3 {
				t.Errorf("reset after %d s, want 1 to 3", n)
			}
			if t.Failed() {
				t.Logf("qemu-system-x86_64 %s\n%s", strings.Join(args, " "), out)
			}
		})
	}
}

func writeInitramfs(t *testing.T, k *kernel.Kernel, file string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "init")
	guestkernel.Command(t, "", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./testdata/guest")
	st, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	x := kerneltest.Index(t, k)
	selection, err := x.Select([]module.Class{{Name: "watchdogs", Reason: "the test", Need: []string{"i6300esb", "softdog"}}})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	err = initramfs.Build(t.Context(), &buf, initramfs.Config{
		Baked: images.Baked{Name: "test", Role: images.RoleWorker, KernelRelease: k.Release},
		Init:  func() (io.ReadCloser, error) { return os.Open(binary) }, InitSize: st.Size(),
		Modules: k.Modules, Index: x, Selection: selection, Cache: filepath.Join(kerneltest.Cache(t), "modules"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
