package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
)

// fillWithin bounds the wait for the prefetch of a lazy machine.
const fillWithin = 90 * time.Second

// booted is what one boot took.
type booted struct {
	up      float64 // seconds from the kernel's start to the agent's
	ready   float64 // seconds from the kernel's start to where systemd has started everything
	powered float64 // seconds from power-on to the agent's start
	cpu     float64 // seconds of the host's processors that the machine used from the kernel's start to the agent's
	before  float64 // MB that came to the network card until the agent started, with all headers
	fetched float64 // and until everything was started
	used    float64 // MB of memory in use at that time
}

// started is how many seconds after power-on systemd has started everything.
func (r booted) started() float64 { return r.powered - r.up + r.ready }

// bootedHeader stands over what String gives.
const bootedHeader = "kernel→up  processor      on→up     on→all   MB at up  MB at all  MB memory"

func (r booted) String() string {
	return fmt.Sprintf("%7.1f s  %7.1f s  %7.1f s  %7.1f s  %9.1f  %9.1f  %9.1f", r.up, r.cpu, r.powered, r.started(), r.before, r.fetched, r.used)
}

// BenchmarkBoot compares the ways of booting (see the package comment). x_NAME is how many times as fast as NAME lazy
// is from the kernel's start to the agent's, x_on_NAME from power-on.
func BenchmarkBoot(b *testing.B) {
	times := runs(b)
	l := startLab(b, times)
	results := map[string][]booted{}
	for b.Loop() {
		l.boot(b, warm, 0)
		for i := range times {
			for _, w := range ways { // in turn: what else the host does meets all of them
				r := l.boot(b, w, i)
				b.Logf("%-5s run %d %s", w.name, i+1, r)
				results[w.name] = append(results[w.name], r)
			}
		}
	}
	report(b, results)
}

// report prints the medians and the ratios.
func report(b *testing.B, results map[string][]booted) {
	b.Helper()
	var table strings.Builder
	lazy := medians(results["lazy"])
	for _, w := range ways {
		r := medians(results[w.name])
		fmt.Fprintf(&table, "\n%-11s %s", w.name, r)
		b.ReportMetric(r.up, "s_"+w.name)
		b.ReportMetric(r.powered, "s_on_"+w.name)
		b.ReportMetric(r.fetched, "MB_fetched_"+w.name)
		b.ReportMetric(r.used, "MB_memory_"+w.name)
	}
	for _, w := range ways {
		if w.name == "lazy" {
			continue
		}
		r := medians(results[w.name])
		fmt.Fprintf(&table, "\nlazy/%-6s %9.2f  %9.2f  %9.2f  %9.2f  %9.2f  %9.2f  %9.2f", w.name, lazy.up/r.up, lazy.cpu/r.cpu,
			lazy.powered/r.powered, lazy.started()/r.started(), lazy.before/r.before, lazy.fetched/r.fetched, lazy.used/r.used)
		b.ReportMetric(r.up/lazy.up, "x_"+w.name)
		b.ReportMetric(r.powered/lazy.powered, "x_on_"+w.name)
	}
	b.Logf("medians of %d\n%-11s %s%s", len(results["lazy"]), "", bootedHeader, &table)
	b.ReportMetric(0, "ns/op")
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
		cpu:     of(func(r booted) float64 { return r.cpu }),
		before:  of(func(r booted) float64 { return r.before }),
		fetched: of(func(r booted) float64 { return r.fetched }),
		used:    of(func(r booted) float64 { return r.used }),
	}
}

// What a console says on the way: the kernel's first line, and systemd's when the agent's process is there.
const (
	kernelLine = `Linux version `
	agentLine  = `Started [^\n]*masthead-agent`
)

// boot boots one worker, takes its measures, and switches it off.
func (l *lab) boot(b *testing.B, w way, run int) booted {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), bootWithin)
	defer cancel()
	name, root, cmdline := w.worker(run), string(w.root), probeCmdline
	m := l.Machine(name)
	defer func() {
		if err := m.PowerCut(); err != nil {
			b.Error(err)
		}
	}()
	flush()
	began := time.Now()
	if err := l.Register(ctx, l.head, name, wire.NodeChange{Image: &w.image, Root: &root, Cmdline: &cmdline}); err != nil {
		b.Fatal(err)
	}
	atKernel, _, err := l.reach(ctx, m, kernelLine)
	if err != nil {
		b.Fatal(err)
	}
	atAgent, _, err := l.reach(ctx, m, agentLine)
	if err != nil {
		b.Fatal(err)
	}
	atReady, match, err := l.reach(ctx, m, probeLine)
	if err != nil {
		b.Fatal(err)
	}
	p, err := parseProbe(match)
	if err != nil {
		b.Fatal(err)
	}
	up, err := l.agentUp(ctx, b, name, run == 0 && w != warm)
	if err != nil {
		b.Fatal(err)
	}
	if run == 0 && w.root == images.RootLazy {
		if err := l.filled(ctx, b, m); err != nil {
			b.Fatal(err)
		}
	}
	return booted{
		up: up, ready: p.uptime, used: mb(p.used),
		// The kernel's start by the host's clock: the probe said how long ago it was.
		powered: atReady.time.Sub(began).Seconds() - p.uptime + up,
		cpu:     atAgent.cpu - atKernel.cpu,
		before:  atAgent.received, fetched: atReady.received,
	}
}

// moment is what the host sees of a machine at one moment.
type moment struct {
	time     time.Time
	received float64 // MB that came to its network card
	cpu      float64 // seconds of processor that its QEMU has used
}

// reach waits until a machine's console says something.
func (l *lab) reach(ctx context.Context, m *vmtest.Machine, pattern string) (moment, []string, error) {
	match, err := m.Console.Expect(ctx, pattern)
	now := moment{time: time.Now(), received: mb(int64(m.Port(0).Counters().ReceivedBytes))}
	if err != nil {
		return now, nil, fmt.Errorf("console of %s: %w", m.Name, err)
	}
	now.cpu, err = l.processorTime(ctx, m.Name)
	return now, match, err
}

// agentUp waits until the head has heard of a machine that it is up, and gives the kernel's time when its agent started.
func (l *lab) agentUp(ctx context.Context, b *testing.B, name string, tell bool) (float64, error) {
	var stages strings.Builder
	err := l.Follow(ctx, l.head, name, "", func(s wire.StageResult) {
		if s.Took >= 0.05 {
			fmt.Fprintf(&stages, " %s %.1f", s.Stage, s.Took)
		}
	})
	if err != nil {
		return 0, err
	}
	if tell {
		b.Logf("%s, seconds by stage:%s", name, &stages)
	}
	node, err := l.head.Node(ctx, name)
	return node.BootedIn, err
}

// filled tells what a lazy machine has fetched and holds once its prefetch is done: it goes on after the boot.
func (l *lab) filled(ctx context.Context, b *testing.B, m *vmtest.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, fillWithin)
	defer cancel()
	for began := time.Now(); ; {
		now, match, err := l.reach(ctx, m, probeLine)
		if errors.Is(err, context.DeadlineExceeded) {
			b.Logf("lazy: the prefetch goes on longer than %v", fillWithin)
			return nil
		}
		if err != nil {
			return err
		}
		p, err := parseProbe(match)
		if err != nil {
			return err
		}
		node, err := l.head.Node(ctx, m.Name)
		if err != nil {
			return err
		}
		if s := node.RootState; s != nil && s.Present == s.Chunks {
			b.Logf("lazy, %.0f s after all was started, when the prefetch was done: fetched %.1f MB, memory %.1f MB",
				now.time.Sub(began).Seconds(), now.received, mb(p.used))
			return nil
		}
	}
}
