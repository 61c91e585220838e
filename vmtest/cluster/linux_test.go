package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"masthead/vmtest/guestkernel"
	"masthead/vmtest/prerequisite"
)

// linuxISO is a CD with somebody else's Linux: Debian's kernel, busybox and OpenSSH's server, which lets root in with a
// password. Its init mounts /dev/vda, as a server that runs from its disk has it. fingerprint is that of its host key.
func linuxISO(t *testing.T, address, password string) (iso, fingerprint string) {
	t.Helper()
	prerequisite.Programs(t, "busybox", "xorriso", "openssl", "ssh-keygen", "/usr/sbin/sshd", "xz")
	kernel, modules := guestkernel.Debian(t, "virtio_pci", "virtio_net", "virtio_blk", "ext4")
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, d := range []string{"bin", "dev", "etc/ssh", "lib64", "modules", "old", "proc", "root", "run", "sys", "tmp", "usr/sbin", "var/empty"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	copyHostProgram(t, root, "sshd")
	busybox := prerequisite.Program(t, "busybox")
	data, err := os.ReadFile(busybox)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755))
	hash := strings.TrimSpace(guestkernel.Command(t, "", "openssl", "passwd", "-6", password))
	write := func(name, text string, mode os.FileMode) {
		must(t, os.WriteFile(filepath.Join(root, name), []byte(text), mode))
	}
	write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n", 0o644)
	write("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)
	write("etc/shadow", "root:"+hash+":19000:0:99999:7:::\nsshd:!:19000::::::\n", 0o600)
	write("etc/ssh/sshd_config", "UsePAM no\nPermitRootLogin yes\nPidFile none\nHostKey /etc/ssh/ssh_host_ed25519_key\n", 0o644)
	guestkernel.Command(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "serverb", "-f", filepath.Join(root, "etc/ssh/ssh_host_ed25519_key"))
	fingerprint = strings.Fields(guestkernel.Command(t, "", "ssh-keygen", "-lf", filepath.Join(root, "etc/ssh/ssh_host_ed25519_key.pub")))[1]
	var load strings.Builder
	for i, file := range modules {
		name := fmt.Sprintf("modules/%02d.ko", i)
		data, err := os.ReadFile(file)
		must(t, err)
		if strings.HasSuffix(file, ".xz") {
			data, err = exec.CommandContext(t.Context(), "xz", "-dc", file).Output()
			must(t, err)
		}
		must(t, os.WriteFile(filepath.Join(root, name), data, 0o644))
		fmt.Fprintf(&load, "insmod /%s\n", name)
	}
	write("init", "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin:/usr/sbin\n"+
		"mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs -o mode=755 run /run\n"+
		"mkdir -p /dev/pts /dev/shm /run/sshd; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm\n"+load.String()+
		"hostname serverb; ip link set lo up; ip link set eth0 up; ip addr add "+address+" dev eth0\n"+
		"mount -t ext4 /dev/vda /old && echo precious > /old/file\n/usr/sbin/sshd && echo 'a Linux with SSH is up'\n"+
		"while true; do sleep 1000; done\n", 0o755)
	tree := filepath.Join(dir, "iso")
	must(t, os.MkdirAll(filepath.Join(tree, "isolinux"), 0o755))
	guestkernel.Command(t, root, "sh", "-c", "find . | busybox cpio -o -H newc -R 0:0 | gzip -1 > "+tree+"/initrd")
	for from, to := range map[string]string{
		kernel: "vmlinuz", "/usr/lib/ISOLINUX/isolinux.bin": "isolinux/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32": "isolinux/ldlinux.c32",
	} {
		data, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(tree, to), data, 0o644))
	}
	must(t, os.WriteFile(filepath.Join(tree, "isolinux/isolinux.cfg"), []byte("DEFAULT l\nLABEL l\n KERNEL /vmlinuz\n INITRD /initrd\n APPEND console=ttyS0,115200\n"), 0o644))
	iso = filepath.Join(dir, "linux.iso")
	guestkernel.Command(t, "", "xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat",
		"-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", tree)
	return iso, fingerprint
}
