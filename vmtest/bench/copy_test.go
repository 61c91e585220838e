package bench

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest/prerequisite"
)

// copyInit fetches the tree, unpacks it into a tmpfs, and goes on there. It is for /init of the small initramfs.
func copyInit(modules []string, plain images.Digest) string {
	return `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t devtmpfs none /dev
for m in ` + strings.Join(modules, " ") + `; do insmod /modules/$m; done
ip link set eth0 up
udhcpc -q -n -i eth0 -s /lease >/dev/null
read -r cmdline </proc/cmdline
for word in $cmdline; do
	case $word in ` + images.KeyHead + `=https://*) head=${word#*=https://} ;; esac
done
mount -t tmpfs -o size=90%,mode=0755 none /root
cd /root
wget -q -O - http://${head%%,*}` + wire.PlainBoot + plain.Hex() + `/initramfs | zstd -dc | cpio -idm
umount /dev /proc
exec switch_root /root /sbin/init
`
}

const copyLease = `#!/bin/busybox sh
[ "$1" = bound ] && exec ip addr add $ip/$mask dev $interface
exit 0
`

// copyTree makes the small initramfs in folder: BusyBox, zstd with its libraries, and the driver of the network card
// out of the root at tree.
func copyTree(b testing.TB, folder, tree, release string, plain images.Digest) {
	b.Helper()
	for _, name := range []string{"bin", "dev", "proc", "root"} {
		if err := os.MkdirAll(filepath.Join(folder, name), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	for _, name := range []string{"busybox", "zstd"} {
		copyFile(b, filepath.Join(folder, "bin", name), prerequisite.Program(b, name))
	}
	for _, path := range libraries(b, filepath.Join(folder, "bin/zstd")) {
		copyFile(b, filepath.Join(folder, path), path)
	}
	from := filepath.Join(tree, "usr/lib/modules", release)
	dep, err := os.ReadFile(filepath.Join(from, "modules.dep"))
	if err != nil {
		b.Fatal(err)
	}
	var modules []string
	for _, path := range loadOrder(string(dep), "virtio_net.ko") {
		name := strings.TrimSuffix(filepath.Base(path), ".xz")
		content, err := exec.CommandContext(b.Context(), "xz", "-dcf", filepath.Join(from, path)).Output() // -f: also what is not compressed
		if err != nil {
			b.Fatalf("xz %s: %v", path, err)
		}
		writeFile(b, filepath.Join(folder, "modules", name), string(content), 0o644)
		modules = append(modules, name)
	}
	writeFile(b, filepath.Join(folder, "init"), copyInit(modules, plain), 0o755)
	writeFile(b, filepath.Join(folder, "lease"), copyLease, 0o755)
}

var libraryPath = regexp.MustCompile(`(/\S+) \(0x`)

// libraries lists the shared libraries of a program, and its loader.
func libraries(b testing.TB, path string) []string {
	b.Helper()
	out, err := exec.CommandContext(b.Context(), "ldd", path).Output()
	if err != nil {
		b.Fatalf("ldd %s: %v", path, err)
	}
	found := map[string]bool{}
	for _, m := range libraryPath.FindAllStringSubmatch(string(out), -1) {
		found[m[1]] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// loadOrder lists a module and what it needs, what must be there first at the front, from modules.dep(5). A module that
// is built into the kernel has no line there.
func loadOrder(dep, name string) []string {
	for line := range strings.Lines(dep) {
		path, needs, _ := strings.Cut(line, ":")
		if strings.TrimSuffix(filepath.Base(path), ".xz") != name {
			continue
		}
		all := append([]string{path}, strings.Fields(needs)...)
		slices.Reverse(all)
		return all
	}
	return nil
}

func TestLoadOrder(t *testing.T) {
	const dep = "net/core/failover.ko.xz:\ndrivers/net_failover.ko.xz: net/core/failover.ko.xz\n" +
		"drivers/virtio_net.ko.xz: drivers/net_failover.ko.xz net/core/failover.ko.xz\n"
	want := []string{"net/core/failover.ko.xz", "drivers/net_failover.ko.xz", "drivers/virtio_net.ko.xz"}
	if diff := cmp.Diff(want, loadOrder(dep, "virtio_net.ko")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := loadOrder(dep, "e1000e.ko"); got != nil {
		t.Errorf("a module that is not there: %v", got)
	}
}
