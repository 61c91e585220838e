package vmtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"masthead/vmtest/ethernet"
	"masthead/vmtest/serial"
)

// Lab is a running lab: machines, switches, cables. All methods may be called by
// any goroutine.
type Lab struct {
	config   Config
	folder   string
	runtime  string // short, for sockets
	log      *slog.Logger
	lock     *os.File
	life     context.Context
	end      context.CancelFunc
	switches map[string]*ethernet.Switch
	trunks   map[Pair]*ethernet.Trunk
	cables   []cable
	captures map[string]*ethernet.Capture
	machines map[string]*Machine

	watchers sync.WaitGroup // restartStarved, one for each machine

	down    sync.Once
	downErr error
	done    chan struct{}
}

// cable is a serial cable with the machines at its ends A and B.
type cable struct {
	Pair
	*serial.Cable
}

// Up makes a lab in folder, which is created, and switches its machines on; it
// returns when QEMU runs for each. The lab lasts until Down or the end of ctx, and
// no process of it outlives this one.
//
// In folder stay captures/ and a folder for each machine, with its blank disks:
// the next Up there finds them as they were. log may be nil.
func Up(ctx context.Context, config Config, folder string, log *slog.Logger) (*Lab, error) {
	config, err := config.Prepare()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return nil, fmt.Errorf("lab %s: %w", config.Name, err)
	}
	l := &Lab{
		config:   config,
		folder:   folder,
		log:      log,
		switches: make(map[string]*ethernet.Switch),
		trunks:   make(map[Pair]*ethernet.Trunk),
		captures: make(map[string]*ethernet.Capture),
		machines: make(map[string]*Machine),
		done:     make(chan struct{}),
	}
	l.life, l.end = context.WithCancel(ctx)
	err = l.build()
	if err == nil {
		err = l.powerOn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", config.Name, err), l.Down())
	}
	for _, m := range l.machines {
		l.watchers.Go(func() { l.restartStarved(l.life, m) })
	}
	unwatch := context.AfterFunc(ctx, func() { l.Down() })
	go func() { // ends with the lab
		<-l.done
		unwatch()
	}()
	return l, nil
}

// build makes all that the machines plug into, and the machines.
func (l *Lab) build() error {
	if err := os.MkdirAll(filepath.Join(l.folder, "captures"), 0o755); err != nil {
		return err
	}
	if err := l.takeLock(); err != nil {
		return err
	}
	if err := l.makeRuntime(); err != nil {
		return err
	}
	var err error
	for _, name := range l.config.Switches {
		l.switches[name] = ethernet.NewSwitch(name, l.config.Seed)
		if !l.config.Capture {
			continue
		}
		if err := l.capture(name); err != nil {
			return err
		}
	}
	for _, pair := range l.config.Trunks {
		if l.trunks[pair], err = ethernet.NewTrunk(l.switches[pair.Ends[0]], l.switches[pair.Ends[1]]); err != nil {
			return err
		}
	}
	for _, name := range l.config.names() {
		if l.machines[name], err = l.newMachine(name); err != nil {
			return err
		}
		if l.config.Fresh {
			if err := l.machines[name].discard(); err != nil {
				return err
			}
		}
	}
	for i, pair := range l.config.Cables {
		if err := l.lay(i, pair); err != nil {
			return err
		}
	}
	return nil
}

// lay connects the next serial port of two machines.
func (l *Lab) lay(number int, pair Pair) error {
	var paths [2]string
	for side, name := range pair.Ends {
		m := l.machines[name]
		paths[side] = l.socket(fmt.Sprintf("%s.serial%d", name, len(m.host.Cables)+1))
		m.host.Cables = append(m.host.Cables, paths[side])
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%d cable %d", l.config.Seed, number)
	laid, err := serial.ListenCable(paths[0], paths[1], h.Sum64())
	if err != nil {
		return err
	}
	l.cables = append(l.cables, cable{pair, laid})
	return nil
}

func (l *Lab) capture(name string) error {
	c, err := ethernet.CreateCapture(filepath.Join(l.folder, "captures", name+".pcapng"))
	if err != nil {
		return err
	}
	l.captures[name] = c
	l.switches[name].SetCapture(c)
	return nil
}

// powerOn switches on all machines that are not to be off.
func (l *Lab) powerOn() error {
	// A failure must not cut the others' start short: what they say may be the reason.
	var starting errgroup.Group
	for _, m := range l.machines {
		if !m.Config.Off {
			starting.Go(func() error { return m.PowerOn(l.life) })
		}
	}
	return starting.Wait()
}

// takeLock keeps a second lab out of the folder. The kernel gives the lock back
// when the process ends, however it ends.
func (l *Lab) takeLock() error {
	lock, err := os.OpenFile(filepath.Join(l.folder, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return fmt.Errorf("%s is in use by a running lab: %w", l.folder, err)
	}
	l.lock = lock
	return nil
}

const runtimeName = "masthead-lab-"

// makeRuntime makes the folder for sockets: not in the lab's own, whose path may be
// too long for one. The lock file says where it is, for the next lab to clear away
// what a killed one left behind.
func (l *Lab) makeRuntime() error {
	os.Remove(signpostPath(l.folder))
	before, err := io.ReadAll(l.lock)
	if err != nil {
		return err
	}
	if left := string(before); strings.HasPrefix(filepath.Base(left), runtimeName) {
		os.RemoveAll(left)
	}
	if l.runtime, err = os.MkdirTemp("", runtimeName); err != nil {
		return err
	}
	if err := l.lock.Truncate(0); err != nil {
		return err
	}
	_, err = l.lock.WriteAt([]byte(l.runtime), 0)
	return err
}

func (l *Lab) socket(name string) string { return filepath.Join(l.runtime, name) }

// Down cuts the power of all machines and takes the lab apart. It returns when no
// process and no goroutine of it is left; further calls return the same.
func (l *Lab) Down() error {
	l.down.Do(func() {
		l.end()
		l.watchers.Wait()
		var errs []error
		var ending errgroup.Group
		for _, m := range l.machines {
			if m != nil {
				ending.Go(m.close)
			}
		}
		errs = append(errs, ending.Wait())
		for _, c := range l.cables {
			errs = append(errs, c.Close())
		}
		for _, t := range l.trunks {
			if t != nil {
				errs = append(errs, t.Close())
			}
		}
		for _, s := range l.switches {
			errs = append(errs, s.Close())
		}
		for _, c := range l.captures {
			errs = append(errs, c.Close())
		}
		if l.runtime != "" {
			errs = append(errs, os.RemoveAll(l.runtime))
		}
		if l.lock != nil {
			errs = append(errs, l.lock.Close())
		}
		l.downErr = errors.Join(errs...)
		close(l.done)
	})
	return l.downErr
}

// Done is closed when the lab is down.
func (l *Lab) Done() <-chan struct{} { return l.done }

// Config returns the lab's configuration with its defaults.
func (l *Lab) Config() Config { return l.config }

// Folder returns where the lab's files are.
func (l *Lab) Folder() string { return l.folder }

// Machine returns a machine by name, nil without one.
func (l *Lab) Machine(name string) *Machine { return l.machines[name] }

// Machines returns all machines in the order of their names.
func (l *Lab) Machines() []*Machine {
	var machines []*Machine
	for _, name := range l.config.names() {
		machines = append(machines, l.machines[name])
	}
	return machines
}

// Switch returns a switch by name, nil without one. Attach a port to it to see
// and send frames.
func (l *Lab) Switch(name string) *ethernet.Switch { return l.switches[name] }

// DefaultFolder is where the lab of that name has its files unless told otherwise:
// in MASTHEAD_CACHE, or ~/.cache/masthead.
func DefaultFolder(name string) (string, error) {
	cache := os.Getenv("MASTHEAD_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("lab %s: %w", name, err)
		}
		cache = filepath.Join(home, ".cache", "masthead")
	}
	return filepath.Join(cache, "lab", name), nil
}
