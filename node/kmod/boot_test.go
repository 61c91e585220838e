package kmod_test

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
	"masthead/vmtest/prerequisite"
)

// bootDeadline is for software emulation on a busy machine; it takes 15 to 25 s on an idle one.
const bootDeadline = 150 * time.Second

// TestVMBoot boots real kernels with an initramfs of ours whose init is testdata/coldplug.
func TestVMBoot(t *testing.T) {
	if os.Getenv("MASTHEAD_VM") == "" {
		t.Skip("MASTHEAD_VM=1 boots a machine")
	}
	qemu := prerequisite.Program(t, "qemu-system-x86_64")
	for _, tt := range []struct {
		name   string
		kernel kernel.Debian
		usb    bool
		want   []string
	}{
		{"trixie generic", kernel.Debian{Package: kernel.Generic}, true, []string{
			"TEST net eth0 eth1 lo", "TEST max_part 0 nbds_max 4", " sda ", " sr0 ", " vda", " erofs", " overlay", " ext4", " iso9660",
			" virtio_net", " e1000", " virtio_blk", " ahci", " sr_mod",
		}},
		{"bookworm cloud", kernel.Debian{Suite: "bookworm", Package: kernel.Cloud}, false, []string{
			"TEST net eth0 lo", "TEST max_part 0 nbds_max 4", " vda", " erofs", " overlay", " virtio_net", " virtio_blk",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			k := kerneltest.Debian(t, tt.kernel)
			writeInitramfs(t, k, filepath.Join(dir, "initramfs"))
			copyTo(t, k.Image, filepath.Join(dir, "vmlinuz"))
			disk := filepath.Join(dir, "disk")
			if err := os.WriteFile(disk, make([]byte, 1<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			cmdline := "console=ttyS0 panic=-1 quiet nbd.nbds_max=4 modprobe.blacklist=lpc_ich"
			if tt.usb {
				cmdline += " test.usb"
			}
			args := []string{
				"-accel", "tcg", "-machine", "q35", "-m", "384", "-smp", "1", "-display", "none", "-no-reboot", "-serial", "stdio",
				"-kernel", filepath.Join(dir, "vmlinuz"), "-initrd", filepath.Join(dir, "initramfs"),
				"-append", cmdline,
				"-nic", "user,model=virtio-net-pci", "-nic", "user,model=e1000",
				"-drive", "if=virtio,format=raw,readonly=on,file=" + disk,
				"-drive", "if=none,id=cd,media=cdrom,format=raw,readonly=on,file=" + disk, "-device", "ide-cd,drive=cd",
			}
			if tt.usb {
				args = append(args, "-device", "qemu-xhci", "-drive", "if=none,id=stick,format=raw,readonly=on,file="+disk, "-device", "usb-storage,drive=stick")
			}
			ctx, cancel := context.WithTimeout(t.Context(), bootDeadline)
			defer cancel()
			start := time.Now()
			out, err := exec.CommandContext(ctx, qemu, args...).CombinedOutput()
			console := string(out)
			t.Logf("%.1f s in all\n%s", time.Since(start).Seconds(), grep(console, "TEST"))
			if err != nil || !strings.Contains(console, "TEST end") || strings.Contains(console, "TEST error") {
				t.Fatalf("%v\n%s %s\n%s", err, qemu, strings.Join(args, " "), console)
			}
			for _, want := range tt.want {
				if !strings.Contains(console, want) {
					t.Errorf("console: no %q", want)
				}
			}
			if strings.Contains(console, " lpc_ich ") {
				t.Error("a module on the blacklist was loaded")
			}
			if t.Failed() {
				t.Logf("%s %s\n%s", qemu, strings.Join(args, " "), console)
			}
		})
	}
}

func writeInitramfs(t *testing.T, k *kernel.Kernel, file string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./testdata/coldplug")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build init: %v\n%s", err, out)
	}
	st, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	x := kerneltest.Index(t, k)
	selection, err := x.Select(module.Server())
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
	t.Logf("initramfs: %d bytes, %d modules", buf.Len(), len(selection.Load))
	if err := os.WriteFile(file, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func copyTo(t *testing.T, f kernel.File, file string) {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func grep(text, word string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, "\n")
}
