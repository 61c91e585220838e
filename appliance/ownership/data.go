package ownership

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/data"
	"masthead/appliance/failover"
	"masthead/appliance/service"
	"masthead/images"
)

// dataConfig is what the replicated data are made for.
type dataConfig struct {
	resources data.Resources
	self      string
}

// replicas are the heads that have a copy of the data: DRBD 8.4 mirrors between two. Of more heads they are the first ones.
const replicas = 2

// Copies are those heads, in order.
func Copies(heads map[string]Head) []string {
	names := slices.SortedFunc(maps.Keys(heads), func(a, b string) int { return heads[a].Number - heads[b].Number })
	return names[:min(len(names), replicas)]
}

func (c Config) copies() []string { return Copies(c.Heads) }

// other is the head with the other copy; empty: there is none.
func (c Config) otherCopy() string {
	if all := c.copies(); slices.Contains(all, c.Self) {
		for _, name := range all {
			if name != c.Self {
				return name
			}
		}
	}
	return ""
}

func (c Config) dataConfig() dataConfig {
	d := dataConfig{self: c.Self, resources: data.Resources{
		Volumes: c.document.Data, Secret: hex.EncodeToString(c.key("data")[:24]), Freeze: c.freezes(),
	}}
	for _, name := range c.copies() {
		d.resources.Hosts = append(d.resources.Hosts, data.Host{Name: name, Number: c.Heads[name].Number, Address: c.Heads[name].Address})
	}
	return d
}

// freezes tells whether an owner that has lost the other copy waits for the arbiter's word. In a pair without fencing nobody
// could give it, nor does the other head take over without leave.
func (c Config) freezes() bool {
	if c.arbiter() != failover.Pair {
		return c.arbiter() != failover.Single
	}
	for _, name := range c.peers() {
		if len(c.document.Heads[name].Fence) == 0 {
			return false
		}
	}
	return true
}

// applyData makes the copies of this head what the configuration says. What it does not have any more is looked after until the
// kernel has let go of it.
func (p *parts) applyData(c Config) {
	left, err := data.Left(p.d.runFile("data"), c.document.Data)
	none := len(c.document.Data) == 0 && len(left) == 0 && err == nil
	p.noData.Store(none)
	if none || !slices.Contains(c.copies(), c.Self) {
		p.lastData = p.data.run.replaced(p.lastData)
		p.data = part[*data.Set, dataConfig]{}
		return
	}
	conf := c.dataConfig()
	if p.data.made && reflect.DeepEqual(p.data.conf, conf) {
		return
	}
	// The loop does not wait for the end of the one before: a program of it may wait for DRBD, and that for the word of this loop.
	p.lastData = p.data.run.replaced(p.lastData)
	last := p.lastData
	p.data.run = nil
	p.data = remake(p, p.data, "data", conf, nil, func(c dataConfig) (*data.Set, func(context.Context) error, error) {
		s, run, err := p.makeData(c)
		return s, func(ctx context.Context) error {
			last.wait()
			return run(ctx)
		}, err
	})
}

func (p *parts) makeData(c dataConfig) (*data.Set, func(context.Context) error, error) {
	handler, err := p.handler()
	if err != nil {
		return nil, nil, err
	}
	s, err := data.New(data.Config{
		Resources: c.resources, Self: c.self, Dir: p.d.runFile("data"), Handler: handler, Load: loadModule,
		Now: p.d.now, Log: p.d.log, Event: p.teller("data"),
	})
	if err != nil {
		return nil, nil, err
	}
	return s, p.following(s.Changed(), s.Run), nil
}

// handler gives this program the name by which DRBD's kernel calls it: the kernel takes a path of 80 characters and no
// arguments.
func (p *parts) handler() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("data: find this program: %w", err)
	}
	link := filepath.Join(p.d.opts.RunDir, images.DRBDHandler)
	if have, err := os.Readlink(link); err == nil && have == self {
		return link, nil
	}
	if err := os.MkdirAll(p.d.opts.RunDir, 0o700); err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("data: %w", err)
	}
	if err := os.Symlink(self, link); err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	return link, nil
}

// dataState is what the daemon remembers of its data from one decision to the next.
type dataState struct {
	boots data.Attested[map[string]uint64] // the witnesses that were there when the copies were last connected
	lost  failover.Instant                 // of the view that the last decision was made for
}

// witnesses is a judge that can tell who was there, and what the voters know.
type witnesses interface {
	Boots() map[string]uint64
	SoloKnown(boots map[string]uint64) failover.Instant
}

// viewData adds how the data stands.
func (d *Daemon) viewData(v *failover.View) {
	p := d.parts.data
	if !p.made {
		if len(d.config.document.Data) == 0 {
			return
		}
		v.Data = failover.DataUnknown
		if !slices.Contains(d.config.copies(), d.config.Self) {
			v.Data = failover.DataOutdated // a head without a copy
		}
		return
	}
	at := p.it.Standing(d.copyView(v))
	v.Data, v.DataLost, v.Self.DataUUID = at.Data, at.Lost, at.UUID
	v.Parted, v.Older, v.Have = at.Parted, at.Older, at.Have
	v.Mirrored, v.DataWaits = at.Mirrored, at.Frozen
	if at.Ill != "" && v.Self.Unhealthy == "" {
		v.Self.Unhealthy = at.Ill
	}
	if w, ok := d.parts.judge.it.(witnesses); ok && d.parts.judge.made {
		d.data.boots.See(at.Connected, w.Boots, d.now())
		// What is on its way to the disk may take back that this head owns alone: no word before that is settled.
		if d.write == nil {
			v.Authority.SoloKnown = w.SoloKnown(d.data.boots.Last)
		}
	}
	d.data.lost = at.Lost
}

// copyView is the view of the copies.
func (d *Daemon) copyView(v *failover.View) data.View {
	out := data.View{Self: d.config.Self, Record: v.Record, Word: d.last.Word, Now: d.now()}
	if a := &v.Authority; a.Owned.Head() != v.Self.ID { // this head's own terms take nothing away from its copy
		out.Known = a.Owned
	}
	other := d.config.otherCopy()
	for _, p := range v.Peers {
		out.Elsewhere |= p.Said.Have
		if p.Name != other {
			continue
		}
		out.Peer = data.PeerView{Name: p.Name, Alive: d.heardWithin(p.ID, v.Policy.Timing.Suspect), Heard: newestOf(p), Said: p.Said}
	}
	if other != "" {
		out.Peer.Name = other
	}
	return out
}

func newestOf(p failover.Peer) failover.Instant {
	at := failover.Instant(-1)
	for _, l := range p.Links {
		at = max(at, l.Heard)
	}
	return at
}

// performData tells the copies what was decided.
func (d *Daemon) performData(next failover.Decision, v *failover.View) {
	if p := d.parts.data; p.made {
		view := d.copyView(v)
		view.Record, view.Word = d.record.Record(), next.Word
		p.it.See(view, d.data.lost)
	}
}

// volumes are the copies as services see them.
type volumes struct{ *parts }

func (v volumes) set() (*data.Set, error) {
	s := v.dataNow.Load()
	if s == nil {
		return nil, fmt.Errorf("data: %w", data.ErrNoVolume)
	}
	return s, nil
}

func (v volumes) Promote(ctx context.Context, volume string) error {
	return v.lasting(ctx, func(s *data.Set) error { return s.Promote(ctx, volume) })
}

func (v volumes) Demote(ctx context.Context, volume string) error {
	err := v.lasting(ctx, func(s *data.Set) error { return s.Demote(ctx, volume) })
	if errors.Is(err, data.ErrNoVolume) && v.noData.Load() {
		return nil // it was never given to the kernel, or has been taken from it
	}
	return err
}

// lasting asks the Set of now, and the next one where another configuration has replaced it meanwhile.
func (v volumes) lasting(ctx context.Context, ask func(*data.Set) error) error {
	for {
		s, err := v.set()
		if err != nil {
			return err
		}
		if err = ask(s); !errors.Is(err, data.ErrEnded) {
			return err
		}
		for v.dataNow.Load() == s {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(replacedEvery):
			}
		}
	}
}

// replacedEvery is how often it is looked whether there is another Set: that takes the loop a moment.
const replacedEvery = 20 * time.Millisecond

func (v volumes) Primary(volume string) (bool, error) {
	s, err := v.set()
	if err != nil && v.noData.Load() {
		return false, nil
	} else if err != nil {
		return false, err
	}
	is, err := s.Primary(volume)
	if errors.Is(err, data.ErrNotSaid) {
		err = fmt.Errorf("%w: %w", service.ErrUnclear, err)
	}
	return is, err
}

func (v volumes) Prepare(ctx context.Context, volume string) error {
	s, err := v.set()
	if err != nil {
		return err
	}
	return s.Prepare(ctx, volume)
}

func (v volumes) Mounts(volume string) []service.Filesystem {
	s, err := v.set()
	if err != nil {
		return nil
	}
	var all []service.Filesystem
	for _, m := range s.Mounts(volume) {
		all = append(all, service.Filesystem{Device: m.Device, Path: m.Path, Type: m.Type, Options: m.Options})
	}
	return all
}

// lossOf is what a pair does when everything of the owner is silent.
func lossOf(d configuration.Document) failover.Loss {
	if d.LossInForce() == configuration.LossSafe {
		return failover.Safe
	}
	return failover.Available
}
