package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/prober"
	"masthead/vmtest/qemu"
)

// Takeover puts a running cluster of two heads through faults, one after another, and judges each by what a machine outside
// of the heads sees of the virtual address. One goroutine uses it.
type Takeover struct {
	*Cluster
	Record *prober.Record // who answered for the virtual address, and when
	VIP    netip.Addr

	heads   [2]string
	clients map[string]*wire.Client
	mailbox *Mailbox
	every   time.Duration // between two questions for the virtual address
	stop    func() error
}

// Names in a lab's configuration of the cluster, beside ${management.NAME}.
const (
	// MailName stands for the lab's mail server.
	MailName = "${mail}"
	// ProberName stands for the machine that probes: it can be the heads' gateway.
	ProberName = "${prober}"
)

// ProberAddress is the machine that probes, on the network that the shipped heads make.
var ProberAddress = netip.MustParseAddr("10.77.0.254")

// Prepared is how a takeover begins: with the cluster configured, and the virtual address watched.
type Prepared struct {
	VIP     netip.Addr
	Clients map[string]*wire.Client // of both heads
	Every   time.Duration           // between two questions for the address; 0: prober.Every
}

// Watched configures the two heads of a cluster as its lab file says, and begins to watch the virtual address on the first
// switch. Close ends that.
func Watched(ctx context.Context, c *Cluster, p Prepared) (*Takeover, error) {
	names := c.Named(images.RoleHead)
	if len(names) != 2 {
		return nil, fmt.Errorf("takeover: the lab has %d heads, want 2", len(names))
	}
	t := &Takeover{Cluster: c, VIP: p.VIP, heads: [2]string{names[0], names[1]}, clients: p.Clients, every: cmp.Or(p.Every, prober.Every)}
	var err error
	if t.mailbox, err = OpenMailbox(ctx); err != nil {
		return nil, err
	}
	watch, stop, err := c.Watch(c.Config().Switches[0], ProberAddress, p.VIP, t.every)
	if err != nil {
		return nil, errors.Join(err, t.mailbox.Close())
	}
	t.Record, t.stop = watch.Record, stop
	if err := t.configure(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Close stops watching.
func (t *Takeover) Close() error { return errors.Join(t.stop(), t.mailbox.Close()) }

func (t *Takeover) configure(ctx context.Context) error {
	text, err := t.Document()
	if err != nil {
		return err
	}
	text = strings.NewReplacer(MailName, t.mailbox.Guest(), ProberName, ProberAddress.String()).Replace(text)
	if _, err := t.clients[t.heads[0]].SetCluster(ctx, wire.ClusterChange{Text: text, Version: -1}); err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	return nil
}

// Other is the head that is not the named one.
func (t *Takeover) Other(head string) string {
	if head == t.heads[0] {
		return t.heads[1]
	}
	return t.heads[0]
}

// Client is the API of a head.
func (t *Takeover) Client(head string) *wire.Client { return t.clients[head] }

// Emulated tells whether the machines' processors are emulated: what their timers do is then up to the host.
func Emulated() bool { return qemu.HostAccelerator() == qemu.TCG }

// fresh is how old the last answer for the virtual address may be for its owner to count as answering.
const fresh = 200 * time.Millisecond

// Answering is the head that answers for the virtual address now; empty: none.
func (t *Takeover) Answering() string {
	mac, at := t.Record.Last()
	if mac == "" || t.Record.Now()-at > fresh {
		return ""
	}
	return t.NameOf(mac)
}

// Silence is the longest silence of the virtual address since from, and how often both heads answered.
func (t *Takeover) Silence(from time.Duration) (longest time.Duration, double int) {
	all := t.Record.Answers(from - 4*t.every) // the last answer before is where a silence begins
	return prober.Longest(all).Length(), len(prober.Doubles(all, 4*t.every))
}

// take is how long one question to a head may take: it may be dead.
const take = 5 * time.Second

func (t *Takeover) owner(ctx context.Context, head string) (wire.OwnerStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, take)
	defer cancel()
	return t.clients[head].Owner(ctx)
}

// await asks again and again until the answer is no error.
func await(ctx context.Context, within time.Duration, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v: %w", what, within, last)
		case <-time.After(ownerLook):
		}
	}
}

// AwaitTaken waits until a head answers for the virtual address and says itself that it owns the cluster.
func (t *Takeover) AwaitTaken(ctx context.Context, head string, within time.Duration) error {
	return await(ctx, within, head+" owns the cluster", func(ctx context.Context) error {
		if who := t.Answering(); who != head {
			return fmt.Errorf("%q answers for the address%s", who, t.said(ctx, head))
		}
		s, err := t.owner(ctx, head)
		if err == nil && (s.Owner != head || s.Why.Phase != "active") {
			err = fmt.Errorf("%s answers for the address and is in phase %s: %s", head, s.Why.Phase, s.Why.Summary)
		}
		return err
	})
}

// said is what a head says of itself, for an error.
func (t *Takeover) said(ctx context.Context, head string) string {
	s, err := t.owner(ctx, head)
	if err != nil {
		return "; " + head + " does not answer"
	}
	return fmt.Sprintf("; %s is in phase %s: %s", head, s.Why.Phase, s.Why.Summary)
}

// epoch is the epoch of an owner: as it is ordered, and as people read it.
type epoch struct {
	number uint64
	text   string
}

// bootWithin bounds the return of a head: it boots, and fetches what it missed.
const bootWithin = 8 * time.Minute

// awaitWhole waits until both heads are up and of one mind: one owner, which answers for the address, and one standby, under
// one epoch, with every link up and every fence device answering.
func (t *Takeover) awaitWhole(ctx context.Context, within time.Duration) (owner string, under epoch, err error) {
	err = await(ctx, within, "both heads are whole", func(ctx context.Context) error {
		owner = t.Answering()
		if owner == "" {
			return fmt.Errorf("nobody answers for the address%s%s", t.said(ctx, t.heads[0]), t.said(ctx, t.heads[1]))
		}
		under = epoch{}
		for _, head := range t.heads {
			s, err := t.owner(ctx, head)
			if err != nil {
				return fmt.Errorf("%s: %w", head, err)
			}
			if under.number == 0 {
				under = epoch{s.EpochNumber, s.Epoch}
			}
			want := "standby"
			if head == owner {
				want = "active"
			}
			switch {
			case s.Owner != owner || s.Why.Phase != want:
				return fmt.Errorf("%s answers for the address, and %s is in phase %s, under %q: %s", owner, head, s.Why.Phase, s.Owner, s.Why.Summary)
			case s.EpochNumber != under.number:
				return fmt.Errorf("%s knows epoch %s, the other one another", head, s.Epoch)
			}
			for _, l := range s.Links {
				if !l.Up {
					return fmt.Errorf("%s: link %s is not up", head, l.Name)
				}
			}
		}
		return nil
	})
	return owner, under, err
}

// lookAgain is how long a head may stay away before it is looked whether it was switched off again.
const lookAgain = 30 * time.Second

// Whole brings everything back that a fault took away, and waits until both heads are whole. refenced counts the heads that
// were switched off again while they booted: a machine that stands still for a second because its host is busy is dead to
// the other one.
func (t *Takeover) Whole(ctx context.Context) (owner string, under epoch, refenced int, err error) {
	until := time.Now().Add(bootWithin)
	for first := true; ; first = false {
		for _, head := range t.heads {
			off := t.isOff(ctx, head)
			if off && !first {
				refenced++
			}
			if off || first {
				if err := t.mend(ctx, head); err != nil {
					return "", epoch{}, refenced, err
				}
			}
		}
		owner, under, err = t.awaitWhole(ctx, min(lookAgain, time.Until(until)))
		if err == nil || ctx.Err() != nil || time.Now().After(until) {
			return owner, under, refenced, err
		}
	}
}

// back switches a head on that is off.
func (c *Cluster) back(ctx context.Context, head string) error {
	if !c.isOff(ctx, head) {
		return nil
	}
	if err := c.PowerOn(ctx, head); !errors.Is(err, vmtest.ErrOn) { // by whom else: it is on
		return err
	}
	return nil
}

func (c *Cluster) isOff(ctx context.Context, head string) bool {
	s := c.Machine(head).State(ctx)
	return s == vmtest.Off || s == vmtest.Failed
}

// mend takes the faults off a head and switches it on.
func (t *Takeover) mend(ctx context.Context, head string) error {
	m := t.Machine(head)
	errs := []error{t.Heal(head)}
	if _, guest := m.Management(); guest != "" {
		errs = append(errs, m.HangManagement(false))
	}
	errs = append(errs, t.back(ctx, head))
	if m.State(ctx) == "paused" {
		errs = append(errs, m.Resume(ctx))
	}
	return errors.Join(errs...)
}

// sh runs a line in the shell of a head.
func (t *Takeover) sh(ctx context.Context, head, line string, within time.Duration) (string, error) {
	return Shell(ctx, t.clients[head], head, line, nil, within)
}

// ownerDaemon is a line of shell that sends a signal to the owner daemon of the head where it runs. The agent, which runs
// it, is another process. Nothing but ps is on every head.
func ownerDaemon(signal string) string {
	return `ps ax | grep 'masthead owner ru[n]' | while read pid rest; do kill -` + signal + ` $pid; done`
}

// signal sends one to a head's owner daemon.
func (t *Takeover) signal(ctx context.Context, head, name string) error {
	_, err := t.sh(ctx, head, ownerDaemon(name), shellWithin)
	for range shellAgain {
		if !errors.Is(err, wire.ErrCut) || ctx.Err() != nil {
			break
		}
		_, err = t.sh(ctx, head, ownerDaemon(name), shellWithin) // its agent had just lost its head
	}
	return err
}

// shellWithin bounds a command on a head whose processor is emulated; shellAgain is how often it is tried again.
const (
	shellWithin = time.Minute
	shellAgain  = 2
)
