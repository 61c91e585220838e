package module_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"masthead/rootfs/kernel"
	"masthead/rootfs/kernel/kerneltest"
	"masthead/rootfs/module"
	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
)

// tree copies a kernel's modules by links, so that depmod and modprobe may have a root of their own.
func tree(t *testing.T, k *kernel.Kernel) (root, dir string) {
	t.Helper()
	root = t.TempDir()
	dir = filepath.Join(root, "lib/modules", k.Release)
	err := fs.WalkDir(k.Modules, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(dir, p), 0o755)
		}
		return os.Symlink(filepath.Join(k.ModulesDir, p), filepath.Join(dir, p))
	})
	if err != nil {
		t.Fatal(err)
	}
	return root, dir
}

// TestDepmod compares all that is written for real kernels with the work of real depmod, byte for byte. Only the order
// of modules.symbols differs: there it is that of a hash table.
func TestDepmod(t *testing.T) {
	depmod := prerequisite.Program(t, "depmod")
	for _, want := range []kernel.Debian{{Package: kernel.Cloud}, {Package: kernel.Cloud, Suite: "bookworm"}, {Package: kernel.Generic}} {
		k := kerneltest.Debian(t, want)
		t.Run(k.Release, func(t *testing.T) {
			t.Parallel()
			var x *module.Index
			var err error
			if want.Package == kernel.Generic { // 4,200 modules, over which depmod takes seconds
				if testing.Short() {
					t.Skip("-short")
				}
				x = kerneltest.Index(t, k)
			} else if x, err = module.Scan(t.Context(), k.Modules, nil); err != nil {
				t.Fatal(err)
			}
			files, err := x.Files()
			if err != nil {
				t.Fatal(err)
			}
			root, dir := tree(t, k)
			if out, err := exec.Command(depmod, "-b", root, k.Release).CombinedOutput(); err != nil {
				t.Fatalf("depmod: %v\n%s", err, out)
			}
			for _, f := range files {
				want, err := os.ReadFile(filepath.Join(dir, f.Name))
				if os.IsNotExist(err) && f.Name == "modules.weakdep" {
					continue // depmod writes it since version 33
				}
				if err != nil {
					t.Error(err)
					continue
				}
				got := f.Data
				if f.Name == "modules.symbols" {
					got, want = sorted(got), sorted(want)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes differ from depmod's %d", f.Name, len(got), len(want))
				}
			}
		})
	}
}

func sorted(text []byte) []byte {
	lines := strings.Split(string(text), "\n")
	slices.Sort(lines)
	return []byte(strings.Join(lines, "\n"))
}

// TestModprobe has real modprobe read files of ours, for a tree of decompressed modules as an initramfs has it, and for
// names that are hard on a radix tree.
func TestModprobe(t *testing.T) {
	modprobe := prerequisite.Program(t, "modprobe")
	k := kerneltest.Debian(t, kernel.Debian{Package: kernel.Cloud})
	x := kerneltest.Index(t, k)
	sel, err := x.Select(module.Server())
	if err != nil {
		t.Fatal(err)
	}
	x = x.Subset(sel.Load).Plain()
	hard := []string{"a", "ab", "abc", "abd", "b", "abc-def", "x[0-9]y", "x[a-f]*", "*tail", "pci:v*d1", "pci:v1d1", "~", "!", "a b"}
	for i := range hard {
		x.Modules[i].Aliases = append(x.Modules[i].Aliases, hard[i])
	}
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules", k.Release)
	for _, m := range x.Modules { // modprobe --show-depends wants the files to be there
		write(t, filepath.Join(dir, m.Path), nil)
	}
	files, err := x.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		write(t, filepath.Join(dir, f.Name), f.Data)
	}
	run := func(args ...string) string {
		cmd := exec.Command(modprobe, append([]string{"-C", t.TempDir(), "-d", root, "-S", k.Release}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, m := range x.Modules {
		for _, a := range m.Aliases {
			if strings.ContainsAny(a, " *?[") || slices.Contains(hard, a) {
				continue
			}
			if got := run("-R", a); !slices.Contains(strings.Fields(got), m.Name) {
				t.Errorf("modprobe -R %s: %q, want %s", a, got, m.Name)
			}
			break // one of each module; each costs a process
		}
	}
	for _, tt := range []struct {
		ask  string
		hard int
	}{{"ab", 1}, {"abc", 2}, {"abc_def", 5}, {"x5y", 6}, {"xbtrue", 7}, {"ratstail", 8}, {"pci:v7d1", 9}, {"pci:v1d1", 10}, {"~", 11}} {
		if got, want := run("-R", tt.ask), x.Modules[tt.hard].Name; !slices.Contains(strings.Fields(got), want) {
			t.Errorf("modprobe -R %q: %q, want %s", tt.ask, got, want)
		}
	}
	want := []string{"virtio_ring", "virtio", "failover", "net_failover", "virtio_net"}
	var got []string
	for line := range strings.Lines(run("--show-depends", "virtio_net")) {
		file := strings.TrimPrefix(strings.TrimSpace(line), "insmod ")
		name := module.NameOf(file)
		if _, err := os.Stat(file); err != nil {
			t.Errorf("modprobe --show-depends: %q", line)
		}
		got = append(got, name)
	}
	got = slices.DeleteFunc(got, func(s string) bool { return !slices.Contains(want, s) })
	want = slices.DeleteFunc(want, func(s string) bool { _, ok := x.Lookup(s); return !ok }) // some are built in
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modprobe --show-depends virtio_net (-want +got):\n%s", diff)
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestServer holds the table of classes against Debian's generic kernel: what must be in, what must not, and that every
// line of it means something.
func TestServer(t *testing.T) {
	k := kerneltest.Debian(t, kernel.Debian{Package: kernel.Generic})
	x := kerneltest.Index(t, k)
	sel, err := x.Select(module.Server())
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	var size int64
	for _, i := range sel.Load {
		have[x.Modules[i].Name] = true
		size += x.Modules[i].Size
	}
	in := `nbd erofs overlay isofs sr_mod sd_mod cdrom vfat nls_cp437 ext4 zram
		virtio_net vmxnet3 hv_netvsc xen_netfront ena gve e1000 e1000e igb igc ixgbe i40e ice tg3 bnx2x bnxt_en mlx4_en mlx5_core
		r8169 realtek bonding 8021q ib_ipoib mlx5_ib
		nvme ahci virtio_blk virtio_scsi megaraid_sas mpt3sas smartpqi hpsa vmw_pvscsi hv_storvsc vmd
		usb_storage uas xhci_pci ehci_pci usbhid hid_generic
		iTCO_wdt i6300esb sp5100_tco softdog hpwdt qemu_fw_cfg`
	for _, name := range strings.Fields(in) {
		if !have[name] && !x.IsBuiltin(name) {
			t.Errorf("%s is missing", name)
		}
	}
	for _, out := range []string{"sound/", "drivers/gpu/", "drivers/net/wireless/", "drivers/media/", "drivers/bluetooth/", "net/mac80211/", "drivers/staging/", "net/netfilter/"} {
		for _, i := range sel.Load {
			if strings.HasPrefix(x.Modules[i].Path, "kernel/"+out) {
				t.Errorf("%s is in", x.Modules[i].Path)
			}
		}
	}
	// The initramfs is unpacked into memory, of which a small machine has 256 MB.
	if limit := int64(90 << 20); size > limit {
		t.Errorf("%d bytes of modules, at most %d", size, limit)
	}
	t.Logf("%s: %d modules, %d bytes", k.Release, len(sel.Load), size)

	old := kerneltest.Index(t, kerneltest.Debian(t, kernel.Debian{Package: kernel.Generic, Suite: "bookworm"}))
	for _, c := range module.Server() {
		if c.Name == "" || c.Reason == "" {
			t.Errorf("class %q: no name or no reason", c.Name)
		}
		for _, p := range append(append([]string{}, c.Take...), c.Leave...) {
			if !anyMatch(x, p) && !anyMatch(old, p) {
				t.Errorf("class %s: %s matches no module of %s, nor of bookworm's", c.Name, p, k.Release)
			}
		}
	}
}

func anyMatch(x *module.Index, pattern string) bool {
	if x.IsBuiltin(pattern) {
		return true
	}
	sel, err := x.Select([]module.Class{{Take: []string{pattern}}})
	return err == nil && len(sel.Load) > 0
}
