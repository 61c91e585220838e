package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/cluster"
	"masthead/vmtest/qemu"
)

const (
	workerMemory = 1536             // MiB: what plain needs for its archive and what comes out of it at the same time
	bootWithin   = 8 * time.Minute  // of one machine, on a host of two busy cores without KVM
	fillWithin   = 90 * time.Second // of a lazy machine's prefetch
)

// way is one way to boot the same root.
type way struct {
	name  string
	image string // tag on the head
	root  images.RootMode
}

var ways = []way{
	{"lazy", "worker", images.RootLazy},
	{"ram", "worker", images.RootRAM},
	{"plain", tagPlain, ""},
}

// booted is what one boot took.
type booted struct {
	up      float64 // seconds from the kernel's start to the agent's
	ready   float64 // to where systemd has started everything
	powered float64 // from power-on to the agent's start
	fetched float64 // MB that came to the network card until ready, with all headers
	used    float64 // MB of memory in use at ready
}

// BenchmarkBoot compares the ways of booting (see the package comment). x_plain is how many times as fast as plain lazy
// is, x_ram how many times as fast as ram.
func BenchmarkBoot(b *testing.B) {
	c := startCluster(b, runs(b))
	results := map[string][]booted{}
	for b.Loop() {
		for i := range runs(b) {
			for _, w := range ways { // in turn: what else the host does meets all of them
				r := c.boot(b, w, i)
				b.Logf("%-5s run %d: %s", w.name, i+1, r)
				results[w.name] = append(results[w.name], r)
			}
		}
	}
	middle := map[string]booted{}
	for _, w := range ways {
		middle[w.name] = medians(results[w.name])
	}
	report(b, middle)
}

func (r booted) String() string {
	return fmt.Sprintf("kernel start to agent up %5.1f s, to all started %5.1f s, power-on to up %5.1f s, fetched %5.1f MB, memory %5.1f MB",
		r.up, r.ready, r.powered, r.fetched, r.used)
}

// medians takes each quantity's median by itself.
func medians(all []booted) booted {
	of := func(get func(booted) float64) float64 {
		var values []float64
		for _, r := range all {
			values = append(values, get(r))
		}
		return median(values)
	}
	return booted{
		up:      of(func(r booted) float64 { return r.up }),
		ready:   of(func(r booted) float64 { return r.ready }),
		powered: of(func(r booted) float64 { return r.powered }),
		fetched: of(func(r booted) float64 { return r.fetched }),
		used:    of(func(r booted) float64 { return r.used }),
	}
}

// report prints the medians and the ratios.
func report(b *testing.B, middle map[string]booted) {
	lazy, ram, plain := middle["lazy"], middle["ram"], middle["plain"]
	var s strings.Builder
	for _, w := range ways {
		r := middle[w.name]
		fmt.Fprintf(&s, "\n%-5s median: %s", w.name, r)
		b.ReportMetric(r.up, "s_"+w.name)
		b.ReportMetric(r.powered, "s_on_"+w.name)
		b.ReportMetric(r.fetched, "MB_fetched_"+w.name)
		b.ReportMetric(r.used, "MB_memory_"+w.name)
	}
	fmt.Fprintf(&s, "\nlazy is up in %.2f of plain's time from the kernel's start (goal: at most 0.50), %.2f of ram's;"+
		"\nfrom power-on in %.2f of plain's, %.2f of ram's; all started in %.2f of plain's; it fetched %.2f and holds %.2f of plain's bytes",
		lazy.up/plain.up, lazy.up/ram.up, lazy.powered/plain.powered, lazy.powered/ram.powered, lazy.ready/plain.ready,
		lazy.fetched/plain.fetched, lazy.used/plain.used)
	b.Log(s.String())
	b.ReportMetric(plain.up/lazy.up, "x_plain")
	b.ReportMetric(ram.up/lazy.up, "x_ram")
	b.ReportMetric(plain.powered/lazy.powered, "x_on_plain")
	b.ReportMetric(0, "ns/op")
}

// benchCluster is one head that runs, and workers that are off.
type benchCluster struct {
	*cluster.Cluster
	head *wire.Client
}

// startCluster builds the images and boots the head. There is a worker for each boot, as the head has never seen it.
func startCluster(b *testing.B, times int) *benchCluster {
	b.Helper()
	program(b)
	needRoot(b)
	vmtest.Need(b, qemu.Program, "fsck.erofs", "cpio", "mkfs.ext4")
	dir := b.TempDir()
	iso, _ := buildISO(b, filepath.Join(dir, "store"), dir)
	store, m := worker(b, filepath.Join(dir, "store"))
	tree := filepath.Join(dir, "tree")
	unpack(b, store, m.Root, tree)
	plainTree(b, tree)
	state := filepath.Join(dir, "state")
	onHead, err := images.OpenStore(filepath.Join(state, "images"))
	if err != nil {
		b.Fatal(err)
	}
	plain := plainImage(b, m, tree, onHead)
	b.Logf("root %.1f MB: sealed %.1f MB and initramfs %.1f MB, plain initramfs %.1f MB",
		mb(m.Root.Size), mb(m.Root.Stored()), mb(m.Initramfs.Size), mb(plain.Initramfs.Size))
	disk := filepath.Join(dir, "state.raw")
	stateDisk(b, disk, state)

	config := vmtest.Config{Name: "bench", Switches: []string{"cluster"}, Machines: map[string]vmtest.MachineConfig{
		"head1": {Role: string(images.RoleHead), Memory: 1024, ISO: iso, Boot: vmtest.Boot{qemu.FromCD},
			Disks: []vmtest.DiskConfig{{Path: disk}}, Forward: map[string]int{cluster.HTTPS: 443}},
	}}
	for i := range times {
		for _, w := range ways {
			config.Machines[machineName(w, i)] = vmtest.MachineConfig{
				Role: string(images.RoleWorker), Memory: workerMemory, Boot: vmtest.Boot{qemu.FromNetwork}, OEM: []string{probeOEM()},
			}
		}
	}
	flush()
	return up(b, config, filepath.Join(dir, "lab"))
}

func machineName(w way, run int) string { return fmt.Sprintf("%s%d", w.name, run+1) }

// up brings the lab up for the length of the benchmark and waits for the head. When the benchmark fails, it says what
// the consoles said last.
func up(b *testing.B, config vmtest.Config, folder string) *benchCluster {
	b.Helper()
	c, err := cluster.Up(context.Background(), config, folder) // not the benchmark's: it ends before the report
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
	return &benchCluster{c, head}
}

// boot boots one worker, takes its measures, and switches it off.
func (c *benchCluster) boot(b *testing.B, w way, run int) booted {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), bootWithin)
	defer cancel()
	name, root, cmdline := machineName(w, run), string(w.root), probeCmdline
	m := c.Machine(name)
	defer func() {
		if err := m.PowerCut(); err != nil {
			b.Error(err)
		}
	}()
	flush()
	began := time.Now()
	if err := c.Register(ctx, c.head, name, wire.NodeChange{Image: &w.image, Root: &root, Cmdline: &cmdline}); err != nil {
		b.Fatal(err)
	}
	p, at, err := c.probe(ctx, m)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	r := booted{ready: p.uptime, used: mb(p.used), fetched: mb(int64(m.Port(0).Counters().ReceivedBytes))}
	var stages strings.Builder
	if err := c.Follow(ctx, c.head, name, "", func(s wire.StageResult) { fmt.Fprintf(&stages, " %s %.1f", s.Stage, s.Took) }); err != nil {
		b.Fatal(err)
	}
	b.Logf("%s: seconds by stage:%s", name, &stages)
	node, err := c.head.Node(ctx, name)
	if err != nil {
		b.Fatal(err)
	}
	r.up = node.BootedIn
	r.powered = at.Sub(began).Seconds() - p.uptime + r.up // the kernel's start, by the host's clock, is at less its uptime
	if run == 0 && w.root == images.RootLazy {
		if err := c.filled(ctx, b, m); err != nil {
			b.Fatalf("%s: %v", name, err)
		}
	}
	return r
}

// probe waits for the next word of a machine's probe, and says when it came.
func (c *benchCluster) probe(ctx context.Context, m *vmtest.Machine) (probed, time.Time, error) {
	match, err := m.Console.Expect(ctx, probeLine)
	at := time.Now()
	if err != nil {
		return probed{}, at, err
	}
	p, err := parseProbe(match)
	return p, at, err
}

// filled tells what a lazy machine has fetched and holds once its prefetch is done: it has time for that after the boot.
func (c *benchCluster) filled(ctx context.Context, b *testing.B, m *vmtest.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, fillWithin)
	defer cancel()
	began := time.Now()
	for {
		p, _, err := c.probe(ctx, m)
		if errors.Is(err, context.DeadlineExceeded) {
			b.Logf("lazy: its prefetch was not done after %v", fillWithin)
			return nil
		}
		if err != nil {
			return err
		}
		node, err := c.head.Node(ctx, m.Name)
		if err != nil {
			return err
		}
		s := node.RootState
		if s == nil || s.Present < s.Chunks {
			continue
		}
		b.Logf("lazy, %.0f s after all was started, with its prefetch done: fetched %.1f MB, memory %.1f MB",
			time.Since(began).Seconds(), mb(int64(m.Port(0).Counters().ReceivedBytes)), mb(p.used))
		return nil
	}
}
