package rootdev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/rootdev/chunks"
	"masthead/node/wire"
)

// ProcessName is the first argument of the process of a root device: the program that finds it in its own os.Args[0]
// calls Process and nothing else.
const ProcessName = "@masthead-rootd"

// Descriptors that the process inherits, besides its configuration on standard input.
const (
	progressFD = 3 // where Progress goes, a JSON value a line
	packFD     = 4 // the pack, if Config says that there is one
)

// startConfig is a Config on its way to the process.
type startConfig struct {
	Config
	HasPack bool `json:"has_pack,omitempty"`
}

// maxConfig bounds the configuration: a manifest in base64, and some more.
const maxConfig = images.MaxManifestSize*4/3 + 16<<20

// Process is the whole life of a root device's process, which Start has started. It blocks until the device is
// detached. Its error has been told to Start already, if Start still waits.
func Process(ctx context.Context) error {
	out := os.NewFile(progressFD, "progress")
	if out == nil {
		return errors.New("root device: started by hand; the program starts it itself")
	}
	defer out.Close()
	say := json.NewEncoder(out)

	var c startConfig
	err := json.NewDecoder(io.LimitReader(os.Stdin, maxConfig)).Decode(&c)
	if err != nil {
		err = fmt.Errorf("root device: configuration: %w", err)
	} else {
		os.Stdin.Close()
		if c.HasPack {
			c.Pack = os.NewFile(packFD, "pack")
		}
		kernelLog := openKernelLog()
		c.Notify = kernelLog.write
		for _, err := range protect() {
			kernelLog.write(wire.Event{Text: err.Error(), Failed: true})
		}
		limitMemory(c.Config)
		c.Progress = func(p Progress) error {
			err := say.Encode(p)
			if p.Device != "" {
				out.Close() // Start's last word
			}
			return err
		}
		err = Run(ctx, c.Config)
	}
	if err != nil {
		say.Encode(Progress{Error: err.Error()}) // fails if the device was there already
	}
	return err
}

// protect makes the process one that outlives what is around it. What fails is not worth a boot.
func protect() (errs []error) {
	check := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("root device: %s: %w", what, err))
		}
	}
	// Only the control socket, or SIGKILL, shall end it: a terminal's hang-up, a killall, systemd's final SIGTERM
	// come while the root is in use.
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)

	// A page of this process that has to come back from the root would never come. MCL_ONFAULT locks what has been
	// touched; without it the runtime's address space, most of it never used, would be filled.
	check("lock its memory", unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT))
	check("be spared when memory runs out", os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0))
	check("set its name", os.WriteFile("/proc/self/comm", []byte(ProcessName[1:]), 0))

	// An allocation of ours must not wait for a block device, ours perhaps (prctl(2), PR_SET_IO_FLUSHER). The flag is
	// each thread's and is inherited by those that come later.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_IO_FLUSHER, 1, 0); errno != 0 {
		check("PR_SET_IO_FLUSHER", errno)
	}

	// Who started it may be a service that ends: systemd waits for all of its processes, and then kills them. At a boot
	// there are no control groups yet.
	if err := os.WriteFile(rootGroup, []byte("0"), 0); !errors.Is(err, os.ErrNotExist) {
		check("leave the service that started it", err)
	}
	return errs
}

// rootGroup lists the processes of no control group; who writes 0 becomes one of them (cgroup-v2.rst, "Processes").
const rootGroup = "/sys/fs/cgroup/cgroup.procs"

const (
	gcPercent = 15       // the cache is most of the heap, is never garbage and holds no pointers: collecting is cheap
	maxCPUs   = 4        // each has its own caches in the allocator and the decoder
	slack     = 16 << 20 // bytes beside the caches: requests under way, TLS, the runtime
)

// limitMemory keeps the process small.
func limitMemory(c Config) {
	runtime.GOMAXPROCS(min(runtime.NumCPU(), maxCPUs))
	debug.SetGCPercent(gcPercent)
	m, err := c.validate()
	if err != nil {
		return // Run will say so
	}
	if bound, err := c.cacheBound(m.Root); err == nil {
		debug.SetMemoryLimit(min(bound, m.Root.Stored()) + chunks.DefaultDecoded + slack)
	}
}

// kernelLog writes to the kernel's log, which never blocks, reaches the console and ends in the journal.
type kernelLog struct{ f *os.File }

func openKernelLog() kernelLog {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		f = nil // nobody can be told
	}
	return kernelLog{f}
}

// write logs with the priority of an error, for news that is good too: with "quiet" a console shows nothing less, and
// somebody who has read that reads wait wants to read that they go on.
func (k kernelLog) write(e wire.Event) {
	if k.f != nil {
		fmt.Fprintf(k.f, "<3>masthead: %s\n", e.Text)
	}
}
