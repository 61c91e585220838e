package vmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"masthead/vmtest/prerequisite"

	"github.com/cavaliergopher/cpio"
)

// guest is a small Linux for machines in tests: Debian's kernel for clouds, its
// virtio modules and busybox, with a shell on the console. Its address is
// 10.9.0.N/24, N from the kernel's command line.
type guest struct{ kernel, initrd string }

// guestModules are in the order they need each other in.
var guestModules = []string{
	"drivers/virtio/virtio_ring", "drivers/virtio/virtio",
	"drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci",
	"net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
}

const guestInit = `#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /tftp
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
cd /modules
for m in $modules; do insmod $m.ko || echo "no $m"; done
cd /
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
	ip addr add 10.9.0.$guest/24 dev eth0
	ip link set eth0 up
fi
stty -F /dev/ttyS1 raw -echo 2>/dev/null # fails without a cable
[ -e /start ] && . /start
echo "guest $guest is ready"
stty -F /dev/ttyS0 -echo
while :; do PS1= setsid sh </dev/ttyS0 >/dev/ttyS0 2>&1; done
`

// newGuest builds the guest, with files added to its root. The file start is
// run before the shell.
func newGuest(t *testing.T, files map[string]string) guest {
	t.Helper()
	needVM(t)
	prerequisite.Programs(t, "busybox", "dpkg-deb")
	kernel := debianKernel(t)
	version := strings.TrimPrefix(filepath.Base(kernel.image), "vmlinuz-")

	var archive bytes.Buffer
	w := cpio.NewWriter(&archive)
	add := func(name string, mode cpio.FileMode, content []byte) {
		t.Helper()
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	addFile := func(name, from string) {
		t.Helper()
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		add(name, cpio.TypeReg|0o755, content)
	}
	for _, folder := range []string{"bin", "modules", "tftp"} {
		add(folder, cpio.TypeDir|0o755, nil)
	}
	busybox := prerequisite.Program(t, "busybox")
	addFile("bin/busybox", busybox)
	add("bin/sh", cpio.TypeSymlink|0o777, []byte("busybox"))
	var names []string
	for _, module := range guestModules {
		name := filepath.Base(module)
		names = append(names, name)
		addFile("modules/"+name+".ko", filepath.Join(kernel.tree, "lib/modules", version, "kernel", module+".ko"))
	}
	script := strings.Replace(guestInit, "$modules", strings.Join(names, " "), 1)
	add("init", cpio.TypeReg|0o755, []byte(script))
	for name, from := range files {
		addFile(name, from)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(initrd, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return guest{kernel.image, initrd}
}

// machine is the guest as number n.
func (g guest) machine(n int) MachineConfig {
	return MachineConfig{
		Memory: 192,
		Kernel: KernelConfig{g.kernel, g.initrd, fmt.Sprintf("console=ttyS0 quiet panic=-1 guest=%d", n)},
	}
}

type unpacked struct{ image, tree string }

// debianKernel downloads and unpacks the package, once for all runs.
func debianKernel(t *testing.T) unpacked {
	t.Helper()
	const meta = "linux-image-cloud-amd64"
	out, err := exec.CommandContext(t.Context(), "apt-cache", "depends", meta).Output()
	if err != nil {
		prerequisite.Missing(t, "apt-cache depends %s: %v", meta, err)
	}
	_, after, _ := strings.Cut(string(out), "Depends: ")
	name, _, _ := strings.Cut(after, "\n")
	if name = strings.TrimSpace(name); name == "" {
		prerequisite.Missing(t, "package %s: run apt-get update", meta)
	}
	folder, err := DefaultFolder("x")
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(filepath.Dir(filepath.Dir(folder)), "vmtest", name)
	if _, err := os.Stat(tree); err != nil {
		unpack(t, name, tree)
	}
	images, err := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("kernels in %s: %v, %v", tree, images, err)
	}
	return unpacked{images[0], tree}
}

func unpack(t *testing.T, name, tree string) {
	t.Helper()
	download := t.TempDir()
	command := exec.CommandContext(t.Context(), "apt-get", "download", "-q", name)
	command.Dir = download
	if out, err := command.CombinedOutput(); err != nil {
		prerequisite.Missing(t, "apt-get download %s: %v\n%s", name, err, out)
	}
	debs, _ := filepath.Glob(filepath.Join(download, "*.deb"))
	if len(debs) != 1 {
		t.Fatalf("downloaded %v", debs)
	}
	if err := os.MkdirAll(filepath.Dir(tree), 0o755); err != nil {
		t.Fatal(err)
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(tree), name+".")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "-x", debs[0], unfinished).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	if err := os.Rename(unfinished, tree); err != nil {
		t.Fatal(err)
	}
}

func needFile(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		prerequisite.Missing(t, "%s", path)
	}
	return path
}
