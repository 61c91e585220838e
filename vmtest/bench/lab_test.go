package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/cluster"
	"masthead/vmtest/prerequisite"
	"masthead/vmtest/qemu"
)

const (
	workerMemory = 1536            // MiB: what plain needs for its archive and what comes out of it at the same time
	bootWithin   = 8 * time.Minute // of one machine, on a host of two busy cores without KVM
)

// way is one way to boot the same root.
type way struct {
	name  string
	image string // tag on the head
	root  images.RootMode
}

// ways are all of them; the ratios are lazy's to each of the others.
var ways = []way{
	{"lazy", "worker", images.RootLazy},
	{"ram", "worker", images.RootRAM},
	{"plain", "worker-plain", ""},
	{"copy", "worker-copy", ""},
}

// warm is a boot that is not measured: it makes the head read from its medium what the first measured one would wait
// for, and gives the head's own systemd the time to come to rest.
var warm = way{"warm", "worker", images.RootRAM}

// worker is the name of the machine that boots this way in one of the runs: each machine boots once, new to the head.
func (w way) worker(run int) string { return fmt.Sprintf("%s%d", w.name, run+1) }

// lab is one head that runs, and workers that are off.
type lab struct {
	*cluster.Cluster
	head *wire.Client
}

// startLab builds the images, makes the workers for that many runs, and boots the head. The lab lasts as long as the
// benchmark.
func startLab(b *testing.B, times int) *lab {
	b.Helper()
	program(b)
	prerequisite.Root(b)
	prerequisite.Programs(b, qemu.Program, "fsck.erofs", "cpio", "mkfs.ext4", "busybox", "zstd", "xz", "ldd")
	dir := b.TempDir()
	iso, _ := buildISO(b, filepath.Join(dir, "store"), dir)
	disk := filepath.Join(dir, "state.raw")
	classicImages(b, filepath.Join(dir, "store"), disk)
	machines := map[string]vmtest.MachineConfig{"head1": {
		Role: string(images.RoleHead), Memory: 1024, ISO: iso, Boot: vmtest.Boot{qemu.FromCD},
		Disks: []vmtest.DiskConfig{{Path: disk}}, Forward: map[string]int{cluster.HTTPS: 443},
	}}
	machine := vmtest.MachineConfig{
		Role: string(images.RoleWorker), Memory: workerMemory, Boot: vmtest.Boot{qemu.FromNetwork}, OEM: []string{probeOEM()},
	}
	machines[warm.worker(0)] = machine
	for i := range times {
		for _, w := range ways {
			machines[w.worker(i)] = machine
		}
	}
	flush()
	return up(b, vmtest.Config{Name: "bench", Machines: machines}, filepath.Join(dir, "lab"))
}

// classicImages makes the images of plain and copy out of the worker's, on a state disk for the head.
func classicImages(b *testing.B, from, disk string) {
	b.Helper()
	dir := b.TempDir()
	store, m := workerImage(b, from)
	b.Logf("the root is %.1f MB, sealed %.1f MB, beside an initramfs of %.1f MB", mb(m.Root.Size), mb(m.Root.Stored()), mb(m.Initramfs.Size))
	tree, small, state := filepath.Join(dir, "tree"), filepath.Join(dir, "small"), filepath.Join(dir, "state")
	unpack(b, store, m.Root, tree)
	plainTree(b, tree)
	onHead, err := images.OpenStore(filepath.Join(state, "images"))
	if err != nil {
		b.Fatal(err)
	}
	plain := putImage(b, onHead, m, "worker-plain", tree)
	copyTree(b, small, tree, m.KernelRelease, plain)
	putImage(b, onHead, m, "worker-copy", small)
	stateDisk(b, disk, state)
}

// up brings the lab up and waits for the head. When the benchmark fails, it says what the consoles said last.
func up(b *testing.B, config vmtest.Config, folder string) *lab {
	b.Helper()
	c, err := cluster.Up(context.Background(), config, folder) // not the benchmark's: that ends before the report is made
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if b.Failed() {
			b.Log(c.Report(context.Background()))
		}
		if err := c.Down(); err != nil {
			b.Log(err)
		}
	})
	ctx, cancel := context.WithTimeout(b.Context(), bootWithin)
	defer cancel()
	head, _, err := c.Head(ctx, "head1")
	if err != nil {
		b.Fatal(err)
	}
	return &lab{c, head}
}
