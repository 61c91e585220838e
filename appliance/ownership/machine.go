package ownership

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/configuration"
	"masthead/appliance/failover"
	"masthead/appliance/heartbeat"
	"masthead/appliance/watchdog"
	"masthead/node/kmod"
)

// priority is above what distributions give to anything, and below the kernel's own watchdog threads (99).
const priority = 50

// goRealtime makes this process one that runs on time, as far as it may. end waits until nothing of it goes on.
func (d *Daemon) goRealtime() (end func()) {
	if !d.opts.Realtime {
		return func() {}
	}
	if err := heartbeat.Realtime(priority); err != nil {
		d.troubled("realtime", fmt.Errorf("heartbeats may be late on a busy machine: %w", err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var collecting sync.WaitGroup
	collecting.Go(func() { heartbeat.Collect(ctx) })
	return func() { cancel(); collecting.Wait() }
}

// threadsEvery is how soon a thread that the Go runtime has added gets the daemon's priority.
const threadsEvery = time.Second

// newThreads gives threads that came later the priority: the kernel does not hand it down (SCHED_RESET_ON_FORK).
func (d *Daemon) newThreads() {
	if d.opts.Realtime {
		_ = heartbeat.RealtimeThreads(priority) // where it is not allowed, goRealtime has said so
	}
}

// resetMachine resets at once: nothing is synced, nobody is told, as if power had gone.
func resetMachine(string) {
	_ = os.WriteFile("/proc/sys/kernel/sysrq", []byte("1"), 0)
	_ = os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // where there is no sysrq
}

// runFile is a file that the next run of the daemon may read, and that is gone after a boot.
func (d *Daemon) runFile(name string) string { return filepath.Join(d.opts.RunDir, name) }

// dog is the machine's watchdog, and when it was fed.
type dog struct {
	device *watchdog.Watchdog
	fed    failover.Instant
	none   string // why there is none
	// tried is the configuration with which there was none: a machine gets no other hardware while it runs, and looking for
	// the modules of some takes long.
	tried *configuration.Watchdog
}

// feedEvery is a fraction of the shortest timeout that hardware has.
const feedEvery = 250 * time.Millisecond

// openWatchdog takes the machine's watchdog, unless the configuration says not to.
func (d *Daemon) openWatchdog() {
	conf := d.config.document.Watchdog
	switch {
	case !d.opts.Watchdog:
		d.dog.none = "not used here"
		return
	case conf.Off:
		d.dog.none = "off, by the configuration"
		return
	case d.dog.device != nil, d.dog.tried != nil && *d.dog.tried == conf:
		return
	}
	d.dog.tried = &conf
	device, err := watchdog.Open(watchdog.Config{Device: conf.Device, Timeout: conf.Timeout, Log: d.log, Load: loadModule})
	d.dog.none = ""
	if err != nil {
		d.dog.none = err.Error()
		d.troubled("watchdog", err)
		return
	}
	d.dog.device = device
	d.event("watchdog", device.String(), false)
}

// feed keeps the watchdog quiet. It is called where a decision was performed, so a daemon that hangs ends in a reset.
func (d *Daemon) feed(now failover.Instant) {
	if d.dog.device == nil || now-d.dog.fed < feedEvery {
		return
	}
	d.dog.fed = now
	d.troubled("watchdog", d.dog.device.Feed())
}

func (g *dog) close(orderly bool) error {
	if g.device == nil {
		return nil
	}
	return g.device.Close(orderly)
}

// text describes it for people.
func (g *dog) text() string {
	if g.device == nil {
		return "none: " + g.none
	}
	return g.device.String()
}

// loadModule loads a module of the running kernel.
func loadModule(name string) error {
	l, err := kmod.New("/", "")
	if err != nil {
		return err
	}
	return l.Load(context.Background(), name, "")
}

// gateModules are what the gate needs of the kernel. A root without modprobe would not load them by itself.
var gateModules = []string{"nf_tables"}

// loadModules loads what may be missing. A kernel that has it built in, or a machine whose modules are elsewhere, is found
// out by those who need it.
func (d *Daemon) loadModules() {
	for _, name := range gateModules {
		if err := loadModule(name); err != nil {
			d.log.Debug("load module", "module", name, "err", err)
		}
	}
}
