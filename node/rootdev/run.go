package rootdev

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/rootdev/chunks"
	"masthead/node/wire"
)

// Run makes a root device and serves it. Once c.Progress has named the device, Run blocks until it has been detached,
// through the control socket, by somebody else, or because ctx has ended, and returns nil; an error then means that
// reads of the device fail from now on. An error before that means that there is no device.
func Run(ctx context.Context, c Config) error {
	m, err := c.validate()
	if err != nil {
		return err
	}
	if c.Kernel == nil {
		c.Kernel = realKernel{}
	}
	d := &device{config: c, root: m.Root, events: newEventLog(c.Notify), detached: make(chan struct{})}
	if err := d.open(); err != nil {
		return err
	}
	defer d.close()
	if c.Mode == images.RootRAM {
		if err := d.reader.Fits(); err != nil {
			return fmt.Errorf("root=ram: %w; boot with root=lazy, or give the machine more memory", err)
		}
	}
	return d.run(ctx)
}

// device is a root device while Run runs.
type device struct {
	config  Config
	root    images.Root
	events  *eventLog
	local   []chunks.Source
	sources *chunks.Sources
	reader  *chunks.Reader
	disk    *chunks.Dir

	drop      context.CancelFunc // ends Run
	detached  chan struct{}      // closed when the kernel has let go
	detachErr error              // or has not; read it after detached
}

// open makes everything that does not run.
func (d *device) open() (err error) {
	if d.local, err = d.config.local(); err != nil {
		return err
	}
	bound, err := d.config.cacheBound(d.root)
	if err != nil {
		return err
	}
	var keeper chunks.Keeper
	if d.config.Disk != "" {
		if d.disk, err = chunks.OpenDir(d.config.Disk, d.config.DiskBound); err != nil {
			d.events.say("the chunk cache on disk is not used: %v", err) // it is not worth a boot
		} else {
			keeper = d.disk
		}
	}
	d.sources = chunks.NewSources(append(d.local, d.config.Heads.sources()...), d.events.add)
	d.reader, err = chunks.NewReader(chunks.ReaderConfig{
		Root: d.root, Sources: d.sources, Cache: bound, Keeper: keeper, Notify: d.events.add,
	})
	if err != nil {
		d.sources.Close()
	}
	return err
}

func (d *device) close() {
	d.sources.Close()
	d.reader.Close()
	if d.disk != nil {
		d.disk.Close()
	}
}

// cacheBound is how many bytes of stored chunks are kept in memory.
func (c Config) cacheBound(root images.Root) (int64, error) {
	if c.Cache > 0 {
		return c.Cache, nil
	}
	memory := c.Memory
	if memory == 0 {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return 0, fmt.Errorf("root device: size of the memory: %w", err)
		}
		memory = int64(info.Totalram) * int64(info.Unit)
	}
	if c.Mode == images.RootRAM {
		return chunks.RAMBound(memory), nil
	}
	return min(chunks.CacheBound(memory), root.Stored()), nil
}

// run has the goroutines: one serves the device, one the control socket, one prefetches. The end of the first ends
// all.
func (d *device) run(ctx context.Context) error {
	ctx, d.drop = context.WithCancel(ctx)
	defer d.drop()
	var side sync.WaitGroup
	defer side.Wait()
	defer d.drop()
	if d.config.Control != "" {
		l, err := listen(d.config.Control)
		if err != nil {
			return err
		}
		side.Go(func() { d.control(ctx, l) })
	}
	defer close(d.detached)
	if d.config.Mode == images.RootRAM {
		if err := d.reader.Load(ctx, d.loading()); err != nil {
			return err
		}
	}
	a, err := attach(ctx, d.config.Kernel, d.config.TakeOver, d.root.Size, d.reader, d.events)
	if err != nil {
		return err
	}
	if d.config.Progress != nil {
		if err := d.config.Progress(Progress{Device: a.dev.Path()}); err != nil {
			d.detachErr = a.detach()
			return fmt.Errorf("root device: say that it is ready: %w", err)
		}
	}
	if d.config.Mode != images.RootRAM {
		side.Go(func() { d.reader.Prefetch(ctx, d.config.Order) }) // its only error is the end of ctx
	}
	err, d.detachErr = a.serve(ctx)
	return err
}

// loading gives a progress function for Load that reports each percent.
func (d *device) loading() func(present, all int) {
	if d.config.Progress == nil {
		return nil
	}
	var mu sync.Mutex
	percent := -1
	return func(present, all int) {
		mu.Lock()
		defer mu.Unlock()
		if p := present * 100 / all; p > percent {
			percent = p
			d.config.Progress(Progress{Present: present, Chunks: all}) // whoever does not listen misses only this
		}
	}
}

// status is how the device stands.
func (d *device) status() wire.RootStatus {
	st := wire.RootStatus{Image: string(d.config.Image)}
	d.reader.Status(&st)
	return st
}

// setHeads has other heads used from now on, after the local sources.
func (d *device) setHeads(h Heads) {
	d.sources.Replace(append(append([]chunks.Source(nil), d.local...), h.sources()...))
}
