package rootfs_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/rootfs"
	"masthead/rootfs/debian"
	"masthead/rootfs/directory"
	"masthead/vmtest/prerequisite"
)

// benchPackages make a root of about 260 MB.
var benchPackages = []string{"systemd", "systemd-sysv", "udev", "dbus", "kmod", "iproute2", "nftables", "openssh-server", "ca-certificates",
	"curl", "e2fsprogs", "procps", "less", "vim", "python3-minimal"}

// benchRoot gives a directory with an unpacked Debian root, from the archive in MASTHEAD_BENCH_ROOT or else bootstrapped
// into the cache.
func benchRoot(b *testing.B) string {
	b.Helper()
	file := os.Getenv("MASTHEAD_BENCH_ROOT")
	if file == "" {
		prerequisite.Programs(b, "mmdebstrap")
		var err error
		file, err = debian.Archive(b.Context(), debian.Config{Suite: "trixie", Packages: benchPackages, Epoch: epoch, Cache: benchCache(b)})
		if err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	if out, err := exec.Command("tar", "-C", dir, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xf", file).CombinedOutput(); err != nil {
		b.Fatalf("tar: %v\n%s", err, out)
	}
	return dir
}

// benchCache is $MASTHEAD_CACHE, or masthead in the user's cache directory.
func benchCache(b *testing.B) string {
	b.Helper()
	if dir := os.Getenv("MASTHEAD_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		b.Fatal(err)
	}
	return filepath.Join(dir, "masthead")
}

// seal builds the directory dir and returns how long that took and how many bytes the store has then.
func seal(b *testing.B, dir string, opts rootfs.SealOptions) (time.Duration, int64) {
	b.Helper()
	// Not removed before the end: for half a minute ext4 steps over each inode that was just freed (fs/ext4/ialloc.c,
	// recently_deleted), which would make the next store's files dear.
	storeDir := b.TempDir()
	start := time.Now()
	store, err := images.OpenStore(storeDir)
	if err != nil {
		b.Fatal(err)
	}
	tree, err := directory.Read(context.Background(), dir, directory.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer tree.Close()
	root, err := rootfs.Build(context.Background(), tree, epoch, store, opts)
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(start), root.Stored()
}

// tool runs a command that writes out and returns how long that took and how large out is then.
func tool(b *testing.B, out string, name string, args ...string) (time.Duration, int64) {
	b.Helper()
	os.Remove(out)
	prerequisite.Programs(b, name)
	start := time.Now()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, out)
	}
	took := time.Since(start)
	st, err := os.Stat(out)
	if err != nil {
		b.Fatal(err)
	}
	return took, st.Size()
}

// rounds is how often each tool runs; the best time of each counts, so that what else the machine does matters less.
const rounds = 3

// BenchmarkSeal compares a directory's way into the store with what other tools make of the same directory, in turn in
// one run. x_time_vs_faster below 1 is faster than the faster of them, x_size_vs_smaller below 1 smaller than the smaller.
func BenchmarkSeal(b *testing.B) {
	dir := benchRoot(b)
	tmp := b.TempDir()
	squash, ero := filepath.Join(tmp, "squashfs"), filepath.Join(tmp, "erofs")
	const none = time.Hour
	ours, squashTime, eroTime, cpu, toolCPU := none, none, none, none, none
	var size, squashSize, eroSize int64
	seal(b, dir, rootfs.SealOptions{}) // all read the directory from memory
	for b.Loop() {
		for range rounds {
			self, children := cpuTime(unix.RUSAGE_SELF), cpuTime(unix.RUSAGE_CHILDREN)
			t, n := seal(b, dir, rootfs.SealOptions{})
			cpu = min(cpu, cpuTime(unix.RUSAGE_SELF)-self)
			st, sn := tool(b, squash, "mksquashfs", dir, squash, "-comp", "zstd", "-Xcompression-level", "3", "-no-progress", "-noappend")
			toolCPU = min(toolCPU, cpuTime(unix.RUSAGE_CHILDREN)-children)
			et, en := tool(b, ero, "mkfs.erofs", "-zlz4hc", ero, dir)
			ours, squashTime, eroTime = min(ours, t), min(squashTime, st), min(eroTime, et)
			size, squashSize, eroSize = n, sn, en
		}
	}
	b.Logf("ours %.2f s %.1f MB, mksquashfs %.2f s %.1f MB, mkfs.erofs %.2f s %.1f MB",
		ours.Seconds(), mb(size), squashTime.Seconds(), mb(squashSize), eroTime.Seconds(), mb(eroSize))
	b.ReportMetric(ours.Seconds()/min(squashTime, eroTime).Seconds(), "x_time_vs_faster")
	b.ReportMetric(float64(size)/float64(min(squashSize, eroSize)), "x_size_vs_smaller")
	b.ReportMetric(cpu.Seconds()/toolCPU.Seconds(), "x_cpu_vs_mksquashfs")
	b.ReportMetric(0, "ns/op")
}

// cpuTime is what the program (or the commands that it ran and waited for) has used of the processors: it tells the work
// where other programs disturb the clock.
func cpuTime(who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// BenchmarkChunks shows what chunk size and level cost.
func BenchmarkChunks(b *testing.B) {
	dir := benchRoot(b)
	for _, level := range []rootfs.Level{1, 2, 3} {
		for _, size := range []int64{128 << 10, 256 << 10, 512 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("level=%v/KiB=%d", level, size>>10), func(b *testing.B) {
				var n int64
				cpu := cpuTime(unix.RUSAGE_SELF)
				for b.Loop() {
					_, n = seal(b, dir, rootfs.SealOptions{ChunkSize: size, Level: level})
				}
				b.ReportMetric((cpuTime(unix.RUSAGE_SELF)-cpu).Seconds()/float64(b.N), "cpu-s/op")
				b.ReportMetric(mb(n), "MB")
			})
		}
	}
}
