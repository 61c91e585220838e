package heads

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/node/wire"
	"masthead/vmtest/arena"
)

// VIP is the virtual address of every cluster here.
var VIP = netip.MustParsePrefix("10.9.0.100/24")

// Config is a cluster.
type Config struct {
	Program   string // masthead
	Dir       string // of states, sockets and logs
	Heads     int
	Witnesses int
	Document  string            // YAML: the cluster's configuration but for its name, VIP, heads and witnesses
	Head      map[string]string // by head: more of its entry, as a flow mapping without its braces
	// Identity makes the folder of a head's keys, and names its public key's digest: three heads or more know one another by
	// these. Nil: none have any.
	Identity func(head, dir string) (key string, err error)
}

// Cluster is an arena with heads that are daemons, and a machine "client" beside them.
type Cluster struct {
	*arena.Arena
	Names []string     // of the heads
	Cable *arena.Cable // between two heads; nil with more
	dir   string
	bin   string
	conf  ownerConfig
	boots map[string]int
	runs  map[string]*exec.Cmd
	votes []*vote
	all   map[string]head // with identities: who may be a member
}

// Client is the machine that is no head and no witness.
const Client = "client"

// New makes the machines. The witnesses vote from now on; the heads are off.
func New(c Config) (_ *Cluster, err error) {
	r := &Cluster{bin: c.Program, dir: c.Dir, boots: map[string]int{}, runs: map[string]*exec.Cmd{}}
	for i := range c.Heads {
		r.Names = append(r.Names, fmt.Sprintf("head%d", i+1))
	}
	var witnesses []string
	for i := range c.Witnesses {
		witnesses = append(witnesses, fmt.Sprintf("n%02d", i+1))
	}
	machines := append(append([]string{}, r.Names...), witnesses...)
	if r.Arena, err = arena.New(append(machines, Client)...); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if c.Heads == 2 {
		if r.Cable, err = r.Arena.Cable(); err != nil {
			return nil, err
		}
	}
	r.conf = r.configuration(c, witnesses)
	if c.Identity != nil {
		if err := r.identify(c.Identity); err != nil {
			return nil, err
		}
	}
	for _, name := range witnesses {
		v, err := startVote(r.Machine(name), r.conf.Cluster, r.conf.Key)
		if err != nil {
			return nil, err
		}
		r.votes = append(r.votes, v)
	}
	return r, nil
}

// configuration is what all heads have in common.
func (r *Cluster) configuration(c Config, witnesses []string) ownerConfig {
	text := fmt.Sprintf("name: test\nboot_wait: 2s\nvips: [{address: %s}]\nheads:\n", VIP)
	conf := newConfig()
	for i, name := range r.Names {
		conf.Heads[name] = head{Number: i + 1, Address: r.Machine(name).Address.Addr()}
		var entry []string
		if r.Cable != nil {
			entry = append(entry, fmt.Sprintf("serial: [{device: %s}]", r.Cable.Devices[i]))
		}
		if more := c.Head[name]; more != "" {
			entry = append(entry, more)
		}
		text += fmt.Sprintf("  %s: {%s}\n", name, strings.Join(entry, ", "))
	}
	if len(witnesses) > 0 {
		text += "witnesses: [" + strings.Join(witnesses, ", ") + "]\n"
	}
	for _, name := range witnesses {
		conf.Witnesses[name] = r.Machine(name).Address.Addr()
	}
	conf.Document = text + c.Document
	return conf
}

// Close ends all that runs and takes the arena down.
func (r *Cluster) Close() error {
	var errs []error
	for _, v := range r.votes {
		errs = append(errs, v.close())
	}
	return errors.Join(append(errs, r.Arena.Close())...)
}

// Log is the file of what a head's daemon says.
func (r *Cluster) Log(head string) string { return filepath.Join(r.dir, head+".log") }

// Boot starts a head as after a power-on.
func (r *Cluster) Boot(head string) error {
	r.boots[head]++
	if err := os.RemoveAll(r.runDir(head)); err != nil {
		return err
	}
	if err := r.configure(head); err != nil {
		return err
	}
	return r.Restart(head)
}

// configure writes what a head's daemon must know.
func (r *Cluster) configure(head string) error {
	c := r.conf
	c.Self, c.Boot = head, r.bootID(head)
	if c.Heads[head].Key != "" {
		c.Keys = r.keysDir(head)
	}
	return c.write(r.stateDir(head))
}

func (r *Cluster) bootID(head string) string { return fmt.Sprintf("%s-boot-%d", head, r.boots[head]) }

func (r *Cluster) keysDir(head string) string { return filepath.Join(r.dir, head+".keys") }

// identify gives the heads their keys.
func (r *Cluster) identify(identity func(head, dir string) (string, error)) error {
	for name, h := range r.conf.Heads {
		var err error
		if h.Key, err = identity(name, r.keysDir(name)); err != nil {
			return err
		}
		r.conf.Heads[name] = h
	}
	r.all = maps.Clone(r.conf.Heads)
	return nil
}

// Members makes these the heads of the cluster from now on, while it runs, on those that are named and on those that were
// before. Only with identities.
func (r *Cluster) Members(names ...string) error {
	told := slices.Concat(names, slices.Sorted(maps.Keys(r.conf.Heads)))
	slices.Sort(told)
	r.conf.Heads = map[string]head{}
	for _, name := range names {
		r.conf.Heads[name] = r.all[name]
	}
	r.conf.Version++
	r.conf.Roster++
	var errs []error
	for _, name := range slices.Compact(told) {
		if !slices.Contains(names, name) {
			errs = append(errs, os.RemoveAll(filepath.Join(r.stateDir(name), "config.json")))
		} else if err := r.configure(name); err != nil {
			errs = append(errs, err)
		}
		c := r.API(name)
		_ = c.ReloadOwner(context.Background()) // one that is off reads it when it starts
		c.Close()
	}
	return errors.Join(errs...)
}

func (r *Cluster) stateDir(head string) string { return filepath.Join(r.dir, head) }
func (r *Cluster) runDir(head string) string   { return filepath.Join(r.dir, head+".run") }
func (r *Cluster) socket(head string) string   { return filepath.Join(r.dir, head+".sock") }

// Restart starts a head's daemon again in the same boot.
func (r *Cluster) Restart(head string) error {
	cmd, err := r.Machine(head).Start(r.Log(head), r.bin, "owner", "run", "--shared-machine",
		"--dir", r.stateDir(head), "--run-dir", r.runDir(head), "--socket", r.socket(head),
		"--boot-id", r.bootID(head))
	if err != nil {
		return err
	}
	r.runs[head] = cmd
	return nil
}

// Process is the id of a head's daemon.
func (r *Cluster) Process(head string) int { return r.runs[head].Process.Pid }

// Kill kills a head's daemon, and nothing else.
func (r *Cluster) Kill(head string) error {
	if err := r.runs[head].Process.Kill(); err != nil {
		return fmt.Errorf("kill the daemon of %s: %w", head, err)
	}
	_ = r.runs[head].Wait() // it was killed
	return nil
}

// Signal sends a signal to a head's daemon.
func (r *Cluster) Signal(head string, s unix.Signal) error {
	if err := r.runs[head].Process.Signal(s); err != nil {
		return fmt.Errorf("signal the daemon of %s: %w", head, err)
	}
	return nil
}

// PowerCut cuts a head's power.
func (r *Cluster) PowerCut(head string) error { return r.Machine(head).PowerCut() }

// PowerOn boots a head after a power cut.
func (r *Cluster) PowerOn(head string) error {
	if err := r.Machine(head).PowerOn(); err != nil {
		return err
	}
	return r.Boot(head)
}

// API is that of a head's daemon. The caller closes it.
func (r *Cluster) API(head string) *wire.Client { return wire.NewUnixClient(r.socket(head)) }

// answersWithin is how long a daemon may take to answer.
const answersWithin = 2 * time.Second

// Status is what a head says of itself.
func (r *Cluster) Status(head string) (wire.OwnerStatus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answersWithin)
	defer cancel()
	c := r.API(head)
	defer c.Close()
	return c.Owner(ctx)
}

// Switch has the owner hand over to another head, and returns when that one owns.
func (r *Cluster) Switch(ctx context.Context, from, to string) (wire.SwitchAnswer, error) {
	c := r.API(from)
	defer c.Close()
	return c.Switch(ctx, wire.SwitchRequest{To: to})
}
