package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/agent"
	"masthead/node/wire"
)

// benchHead is a head in a process of its own, with nodes that are only a client each.
type benchHead struct {
	program, dir, url, tokenFile string
	ca                           images.Digest
	cmd                          *exec.Cmd
	nodes                        []*benchNode
	empty                        int64 // bytes of memory with the state alone
}

// benchNode speaks as a node's agent does: over connections of its own, from an address of its own.
type benchNode struct {
	*wire.Client
	number int
	report wire.Report
	spec   wire.Spec
}

func needBench(b *testing.B) {
	b.Helper()
	if os.Getenv("MASTHEAD_BENCH") != "1" {
		b.Skip("takes minutes: set MASTHEAD_BENCH=1 and MASTHEAD_BIN")
	}
}

// startBenchHead runs MASTHEAD_BIN with that many nodes in its state. They have said hello and reported that they are up.
func startBenchHead(b *testing.B, count int) *benchHead {
	b.Helper()
	needBench(b)
	h := &benchHead{program: os.Getenv("MASTHEAD_BIN"), dir: filepath.Join(b.TempDir(), "head")}
	if !filepath.IsAbs(h.program) {
		b.Fatalf("MASTHEAD_BIN=%q: want the absolute path of the program to measure (make build)", h.program)
	}
	image := worker(b, filepath.Join(h.dir, "images"))
	h.start(b) // makes the keys, and the state with this head in it
	h.stop(b)
	h.fill(b, count)
	h.start(b)
	_, h.empty = usage(b, h.cmd.Process.Pid)
	h.greet(b, image)
	return h
}

// connectable is how many of that many nodes can be had, with two connections each: as many as files may be open, in this
// process and in its children.
func connectable(b *testing.B, nodes int) int {
	b.Helper()
	const others = 300 // files that are none of these connections
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if want := uint64(2*nodes + others); limit.Cur < want {
		more := syscall.Rlimit{Cur: want, Max: max(want, limit.Max)}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &more) == nil {
			return nodes
		}
		nodes = int(limit.Cur-others) / 2
		b.Logf("%d nodes only: this user may open %d files at once (ulimit -n)", nodes, limit.Cur)
	}
	return nodes
}

// worker makes a small image with that tag.
func worker(b *testing.B, dir string) images.Digest {
	b.Helper()
	s, err := images.OpenStore(dir)
	if err != nil {
		b.Fatal(err)
	}
	put := func(text string) images.Blob {
		blob, err := s.PutBytes([]byte(text))
		if err != nil {
			b.Fatal(err)
		}
		return blob
	}
	d, err := s.PutManifest(images.Manifest{
		Format: images.ManifestFormat, Name: "worker", Role: images.RoleWorker, Arch: "amd64", KernelRelease: "6.12",
		Kernel: put("kernel"), Initramfs: put("initramfs"),
		Root: images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{images.Chunk(put("root"))}},
	})
	if err == nil {
		err = s.Tag("worker", d)
	}
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func (h *benchHead) start(b *testing.B) {
	b.Helper()
	port := func() string {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	https := port()
	var log bytes.Buffer
	cmd := exec.Command(h.program, "head", "run", "--name", "head1", "--state", h.dir, "--dhcp", "off", "--http", port(), "--https", https, "--gossip", port())
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	h.cmd, h.url, h.tokenFile = cmd, "https://127.0.0.1:"+https, filepath.Join(h.dir, "pki", "admin.token")
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.Failed() {
			b.Log(log.String()[max(0, log.Len()-4000):])
		}
	})
	c := wire.NewUnixClient(filepath.Join(h.dir, "api.sock"))
	defer c.Close()
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		s, err := c.Status(b.Context())
		if err == nil {
			h.ca = s.CA
			return
		}
		if time.Since(began) > 30*time.Second {
			b.Fatal(err)
		}
	}
}

func (h *benchHead) stop(b *testing.B) {
	b.Helper()
	if err := h.cmd.Process.Signal(unix.SIGTERM); err != nil {
		b.Fatal(err)
	}
	_ = h.cmd.Wait() // how it ends is another test's
}

func nodeMAC(i int) string { return fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255) }

// inventory is that of a usual server.
func inventory(i int) wire.Inventory {
	inv := wire.Inventory{
		MACs: []string{nodeMAC(i), nodeMAC(i + 1<<20)}, UUID: fmt.Sprintf("4c4c4544-0000-1000-8000-%012x", i), Vendor: "Dell Inc.", Product: "PowerEdge R650",
		Serial: fmt.Sprintf("SN%07d", i), Firmware: "uefi", CPU: "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", CPUs: 128, MemoryMB: 524288, Kernel: "6.12.9-amd64",
	}
	for d := range 4 {
		inv.Disks = append(inv.Disks, wire.Disk{Name: fmt.Sprintf("nvme%dn1", d), Bytes: 1_920_383_410_176, Model: "SAMSUNG MZQL21T9HCJR-00A07"})
	}
	return inv
}

// fill enters the nodes and their inventories in the state of a head that is off.
func (h *benchHead) fill(b *testing.B, count int) {
	b.Helper()
	db, err := state.Open(state.Config{Dir: filepath.Join(h.dir, "state"), Head: "head1"})
	if err != nil {
		b.Fatal(err)
	}
	for from := 0; from < count; from += 2500 {
		var ops []state.Op
		for i := from; i < min(count, from+2500); i++ {
			node, err := state.Put(state.KindNode, fmt.Sprintf("n%05d", i), registry.Record{
				MAC: nodeMAC(i), Approved: true, Image: "worker", Groups: []string{"compute", fmt.Sprintf("rack%03d", i/40)},
			})
			made, err2 := state.Put(state.KindInventory, nodeMAC(i), inventory(i))
			if err := errors.Join(err, err2); err != nil {
				b.Fatal(err)
			}
			ops = append(ops, node, made)
			h.nodes = append(h.nodes, h.node(i))
		}
		if _, err := db.Apply(b.Context(), state.Origin{Who: "bench"}, ops...); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}

func (h *benchHead) node(i int) *benchNode {
	n := &benchNode{number: i}
	n.report = wire.Report{
		Boot: fmt.Sprintf("5b6d1b0a-93e8-4a0c-8b5e-%012x", i), MAC: nodeMAC(i), Uptime: float64(i),
		Root: &wire.RootStatus{Source: "head1", Chunks: 900, Present: 900, BytesFetched: 180 << 20},
	}
	for at, s := range wire.Stages() {
		if s != wire.StageMedium {
			n.report.Stages = append(n.report.Stages, wire.StageResult{Stage: s, Outcome: wire.OutcomeDone, At: float64(at), Took: 0.8, Time: time.Now()})
		}
	}
	return n
}

// greet has all nodes say hello and report once.
func (h *benchHead) greet(b *testing.B, image images.Digest) {
	b.Helper()
	var g errgroup.Group
	g.SetLimit(64)
	for _, n := range h.nodes {
		n.Client = wire.NewClient(h.url, h.ca, "")
		from := &net.TCPAddr{IP: net.IPv4(127, byte(1+n.number>>16), byte(n.number>>8), byte(n.number))}
		n.HTTP.Transport.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: from, Timeout: time.Minute}).DialContext
		n.report.Running = image
		g.Go(func() error {
			var err error
			n.spec, err = n.Hello(b.Context(), wire.Hello{Boot: n.report.Boot, MAC: n.report.MAC, Image: image, Role: images.RoleWorker, Inventory: inventory(n.number)})
			if err == nil && n.spec.Verdict != wire.VerdictBoot {
				err = fmt.Errorf("verdict %s: %s", n.spec.Verdict, n.spec.Reason)
			}
			if err != nil {
				return err
			}
			n.Token = n.spec.Token
			return n.Report(b.Context(), n.report)
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

// live reports every 10 s and keeps the command channel, as an agent does. It ends with ctx.
func (n *benchNode) live(ctx context.Context, nodes int, took func(time.Duration)) error {
	conn, err := n.Channel(ctx)
	if err != nil {
		return fmt.Errorf("node %d: %w", n.number, err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	list := wire.HeadList(n.spec.Heads)
	if err := wire.WriteFrame(conn, wire.Frame{Kind: wire.FrameAttach, MAC: n.report.MAC, Boot: n.report.Boot, List: list}); err != nil {
		return err
	}
	var pongs atomic.Int64
	var reader sync.WaitGroup
	defer reader.Wait()
	defer conn.Close()
	reader.Go(func() {
		for in := bufio.NewReaderSize(conn, 256); ; {
			if f, err := wire.ReadFrame(in, wire.MaxHeadFrame); err != nil {
				return
			} else if f.Kind == wire.FramePong {
				pongs.Add(1)
			}
		}
	})
	for turn := int64(0); ; turn++ {
		at := agent.ReportInterval * time.Duration(n.number) / time.Duration(nodes) // its place in the interval
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(at - time.Duration(time.Now().UnixNano())%agent.ReportInterval + agent.ReportInterval):
		}
		n.report.Uptime += agent.ReportInterval.Seconds()
		began := time.Now()
		err := n.Report(ctx, n.report)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && turn%2 == 0 { // wire.ChannelPing
			err = wire.WriteFrame(conn, wire.Frame{Kind: wire.FramePing, List: list})
		}
		if err != nil {
			return fmt.Errorf("node %d: %w", n.number, err)
		}
		if turn > 5 && pongs.Load() == 0 {
			return fmt.Errorf("node %d: the head does not answer on the command channel", n.number)
		}
		took(time.Since(began))
	}
}

// usage is the processor time that a process took so far, and the memory that it holds.
func usage(b *testing.B, pid int) (cpu time.Duration, resident int64) {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ") // proc_pid_stat(5): from the third field on
	fields := strings.Fields(after)
	number := func(i int) int64 {
		n, err := strconv.ParseInt(fields[i-3], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	const ticks = 100 // USER_HZ on all architectures that we build for
	return time.Duration(number(14)+number(15)) * time.Second / ticks, number(24) * int64(os.Getpagesize())
}

// BenchmarkNodes is what ten thousand nodes cost a head that report to it every ten seconds over HTTPS, each with a
// connection for that and one for commands. x_goal is how many times less than one processor it takes.
func BenchmarkNodes(b *testing.B) {
	const settle, watch = 25 * time.Second, 40 * time.Second
	needBench(b)
	nodes := connectable(b, 10_000)
	h := startBenchHead(b, nodes)
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		g, ctx := errgroup.WithContext(ctx)
		var mu sync.Mutex
		var times []time.Duration
		measuring := false
		began := time.Now()
		for _, n := range h.nodes {
			g.Go(func() error {
				// They come within ten seconds, not all at once.
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(agent.ReportInterval * time.Duration(n.number) / time.Duration(nodes)):
				}
				return n.live(ctx, nodes, func(d time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					if measuring {
						times = append(times, d)
					}
				})
			})
		}
		pause := func(d time.Duration) {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		}
		pause(settle)
		mu.Lock()
		measuring = true
		mu.Unlock()
		before, _ := usage(b, h.cmd.Process.Pid)
		pause(watch)
		after, resident := usage(b, h.cmd.Process.Pid)
		mu.Lock()
		measuring = false
		mu.Unlock()
		cancel()
		if err := g.Wait(); err != nil {
			b.Fatalf("after %v: %v", time.Since(began).Round(time.Second), err)
		}
		if want := nodes * int(watch/agent.ReportInterval); len(times) < want*95/100 {
			b.Errorf("%d reports in %v, want %d", len(times), watch, want)
		}
		slices.Sort(times)
		cpu := (after - before).Seconds() / watch.Seconds()
		b.ReportMetric(float64(nodes), "nodes")
		b.ReportMetric(cpu, "cpu-s/s")
		b.ReportMetric(float64(resident)/1e6, "MB")
		b.ReportMetric(float64(h.empty)/1e6, "MB-before-the-first-connection")
		b.ReportMetric(float64(len(times))/watch.Seconds(), "reports/s")
		b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, "median-ms")
		b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1e3, "p99-ms")
		b.ReportMetric(1/cpu, "x_goal")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkList is `masthead node list` of 5,000 nodes as a person types it: a process, a TLS connection, and a line for
// each node. x_goal is how many times faster than a tenth of a second. (xCAT needs 46 s for lsdef of as many.)
func BenchmarkList(b *testing.B) {
	const nodes, goal = 5_000, 100 * time.Millisecond
	h := startBenchHead(b, nodes)
	for _, n := range h.nodes {
		n.Close()
	}
	list := func(args ...string) (time.Duration, []byte) {
		cmd := exec.Command(h.program, append([]string{"--head", h.url, "--ca", string(h.ca), "--token-file", h.tokenFile, "node", "list"}, args...)...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		began := time.Now()
		out, err := cmd.Output()
		if err != nil {
			b.Fatalf("node list: %v: %s", err, errs.String())
		}
		return time.Since(began), out
	}
	var text, all []time.Duration
	for b.Loop() {
		took, out := list()
		if lines := bytes.Count(out, []byte("\n")); lines != nodes+1 {
			b.Fatalf("%d lines, want %d:\n%.500s", lines, nodes+1, out)
		}
		if i := bytes.Count(out, []byte("  up     up  ")); i != nodes {
			b.Fatalf("%d nodes are up, want %d:\n%.500s", i, nodes, out)
		}
		text = append(text, took)
		took, _ = list("-o", "json")
		all = append(all, took)
	}
	slices.Sort(text)
	slices.Sort(all)
	b.ReportMetric(text[len(text)/2].Seconds(), "median-s")
	b.ReportMetric(text[len(text)-1].Seconds(), "longest-s")
	b.ReportMetric(all[len(all)/2].Seconds(), "json-median-s")
	b.ReportMetric(goal.Seconds()/text[len(text)/2].Seconds(), "x_goal")
	b.ReportMetric(0, "ns/op")
}
