package ownership

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"masthead/appliance/failover"
	"masthead/appliance/vip"
)

// step looks, decides and performs, once. It reports whether this head holds nothing any more.
func (d *Daemon) step() (idle bool) {
	if !d.configured() {
		return true
	}
	now := d.now()
	view := d.view(now)
	decision := failover.Decide(view, now)
	d.perform(decision, now)
	d.performData(decision, &view)
	p := decision.Memory.Phase
	return !p.Holds() && decision.Services == failover.Stop && d.services() == failover.ServicesStopped && !decision.Gate.Open
}

func (d *Daemon) configured() bool { return d.record != nil && d.parts.heartbeat.made }

// view is what this head can see now.
func (d *Daemon) view(now failover.Instant) failover.View {
	c := d.config
	v := failover.View{
		Policy: c.policy(),
		Self: failover.Self{
			Name: c.Self, ID: c.Heads[c.Self].Number, BootID: d.bootID, Stopping: d.stopping || d.removed, Unhealthy: d.unhealthy(),
			Barred: d.barred(),
		},
		Memory: d.memory, Record: d.record.Record(), RecordErr: d.recErr,
		Uplink: failover.Up, Authority: failover.Authority{Kind: c.arbiter()}, Services: d.services(), Operator: d.operator.wish,
	}
	v.Record.ClusterGen = max(v.Record.ClusterGen, c.Gen)
	links := d.parts.heartbeat.it.Links()
	for _, name := range c.peers() {
		id := c.Heads[name].Number
		peer := failover.Peer{Name: name, ID: id, Said: d.parts.heartbeat.it.Said(id)}
		peer.NoCopy = len(c.document.Data) > 0 && !slices.Contains(c.copies(), name)
		for _, l := range links {
			if l.Peer == id {
				peer.Links = append(peer.Links, l.Link)
			}
		}
		v.Peers = append(v.Peers, peer)
		if f := d.parts.fencer; f.made && f.it.Possible(name) {
			// With several peers the one that is to be fenced counts, and else one whose fencing is known.
			if reading := f.it.Fencing(name); name == d.last.Fence || d.last.Fence == "" && (reading.Target != "" || v.Fencing.Target == "") {
				v.Fencing = reading
			}
			v.Fencing.Possible = true
		}
	}
	if d.parts.judge.made && d.parts.judge.it != nil {
		v.Authority = d.bridged(d.parts.judge.it.Authority(), now)
		v.Memory, v.Record.Epoch = d.memory, max(v.Record.Epoch, d.record.Record().Epoch)
	}
	d.viewData(&v)
	if d.parts.vip.made {
		d.viewVIP(&v)
	} else if d.last.Gate.Open {
		v.Gate = d.last.Gate // without an address there is no gate; the lease counts all the same
	}
	return v
}

// viewVIP adds what the virtual addresses show.
func (d *Daemon) viewVIP(v *failover.View) {
	it := d.parts.vip.it
	v.Uplink, v.GatewaySilent, v.Probe = it.Uplink(), it.GatewaySilent(), it.Probed()
	v.Gate = d.last.Gate
	v.Gate.Conflict = it.Conflict()
	if !d.started {
		if open, epoch, until := it.Left(); open {
			v.Gate = failover.Gate{Open: true, Epoch: failover.Epoch(epoch), Until: until}
		}
	}
}

// barred is why this head may not claim yet: the configuration that the daemon read is of an earlier boot, and this head may
// have been taken out of the cluster since.
func (d *Daemon) barred() string {
	if d.config.Boot == d.bootID {
		return ""
	}
	return "masthead head run has not found yet that it is still a head of the cluster"
}

func (d *Daemon) services() failover.Services {
	if d.parts.services == nil {
		return failover.ServicesStopped
	}
	return d.parts.services.Services()
}

// perform makes the machine what a decision says. What takes away comes first, then the record, then what adds: a head
// that cannot write its record may still give up, and nothing else.
func (d *Daemon) perform(next failover.Decision, now failover.Instant) {
	d.started = true
	d.memory = next.Memory
	if next.Reset != "" {
		d.event("owner", "this machine is reset: "+next.Reset, true)
		d.opts.Reset(next.Reset)
	}
	// Before the gate: an address that goes while its service runs would look like a failure of the service.
	if g := d.parts.services; g != nil && next.Services == failover.Stop {
		g.Wish(failover.Stop, uint64(next.Memory.Epoch))
	}
	if !next.Gate.Open && next.Memory.Phase != failover.Promote {
		d.shut()
	}
	if !d.written(next.Record) {
		d.withhold(next, now)
		return
	}
	d.parts.heartbeat.it.Say(next.Say)
	d.want(next)
	if f := d.parts.fencer; f.made {
		f.it.Want(next.Fence)
	}
	if v := d.parts.vip; v.made {
		v.it.Probe(next.Probe)
		d.gate(next)
	}
	if g := d.parts.services; g != nil && next.Services == failover.Run { // its addresses are there by now
		g.Wish(failover.Run, uint64(next.Memory.Epoch))
	}
	d.last = next
	d.tell(next)
	d.feed(now)
}

// quickDisk is how long the daemon waits for its record: disks mostly are as fast. One that is not is waited for beside
// what goes on.
const quickDisk = 5 * time.Millisecond

// write is a record on its way to the disk.
type write struct {
	record failover.Record
	done   chan error
}

// written puts the record on the disk if it differs, and reports whether the disk has it now.
func (d *Daemon) written(r failover.Record) bool {
	if d.write == nil && r == d.record.Record() {
		return d.settled(nil)
	}
	if d.write == nil {
		w := &write{r, make(chan error, 1)}
		file := d.record
		go func() { // ends with the write, which Close waits for
			w.done <- file.Write(r)
			d.parts.kick()
		}()
		d.write = w
	}
	select {
	case err := <-d.write.done:
		asked := d.write.record
		d.write = nil
		return d.settled(err) && asked == r // else the next decision, which is due, writes the newer one
	case <-time.After(quickDisk):
		return false
	}
}

// settled notes how the last write ended.
func (d *Daemon) settled(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != d.recErr && text != "" {
		d.event("owner", text, true)
	}
	d.recErr = text
	return err == nil
}

// withhold performs what may be done before the record is on the disk: what was given up is given up, what is open under
// an epoch that the disk has stays open, and nothing new begins.
func (d *Daemon) withhold(next failover.Decision, now failover.Instant) {
	if !d.last.Gate.Open || next.Gate.Epoch != d.last.Gate.Epoch || next.Gate.Epoch != d.record.Record().Epoch {
		next.Gate = failover.Gate{}
	}
	if d.parts.vip.made && next.Gate.Open {
		d.gate(next)
	} else {
		d.shut()
	}
	next.Say, next.Services = d.last.Say, min(next.Services, d.last.Services)
	d.last = next
	d.tell(next)
	d.feed(now)
}

// gate opens, refreshes or leaves the gate.
func (d *Daemon) gate(next failover.Decision) {
	v := d.parts.vip.it
	if (next.Gate.Open || next.Memory.Phase == failover.Promote) && d.prepared != v {
		err := v.Prepare(context.Background())
		d.troubled("addresses", err)
		if err == nil {
			d.prepared = v
		}
	}
	if !next.Gate.Open {
		return
	}
	err := v.Open(uint64(next.Gate.Epoch), next.Gate.Until, d.answering())
	d.troubled("gate", err)
	if err == nil && d.announced != (announcement{v, next.Gate.Epoch}) {
		v.Announce()
		d.announced = announcement{v, next.Gate.Epoch}
	}
}

// answering are the virtual addresses that an owner answers for: the cluster's own, and those of services that have started
// theirs.
func (d *Daemon) answering() []netip.Addr {
	list := d.parts.vip.conf.always
	if g := d.parts.services; g != nil {
		list = slices.Concat(list, g.Answering())
	}
	return list
}

// announcement is what the neighbours were last told: by which set of addresses, for which epoch.
type announcement struct {
	by    *vip.VIP
	epoch failover.Epoch
}

// shut shuts the gate, if it is not shut already.
func (d *Daemon) shut() {
	v := d.parts.vip
	if !v.made || d.shutFor == v.it && !d.last.Gate.Open && d.prepared == nil {
		return
	}
	err := v.it.Shut(context.Background())
	d.troubled("gate", err)
	d.prepared, d.announced, d.shutFor = nil, announcement{}, nil
	if err == nil {
		d.shutFor = v.it
	}
}

// tell makes events of what a decision says, and of what it settles.
func (d *Daemon) tell(next failover.Decision) {
	for _, e := range next.Events {
		d.event("owner", e.Text, e.Bad)
		if e.Mail {
			d.mail(e.Text, next.Why)
		}
	}
	d.operator.settle(next.Done)
	d.history.note(d.config, next, d.owner(), d.services() == failover.ServicesStarted)
}

// owner is who owns the cluster as far as this head knows; empty: nobody, or unknown.
func (d *Daemon) owner() string {
	if d.last.Memory.Phase == failover.Active || d.last.Memory.Phase == failover.Promote {
		return d.config.Self
	}
	best, epoch := "", failover.Epoch(0)
	for _, name := range d.config.peers() {
		id := d.config.Heads[name].Number
		said := d.parts.heartbeat.it.Said(id)
		if (said.Phase == failover.Active || said.Phase == failover.Promote) && said.Acting >= epoch && d.heard(id) {
			best, epoch = name, said.Acting
		}
	}
	return best
}

// heard tells whether a head was heard lately on any link.
func (d *Daemon) heard(id int) bool { return d.heardWithin(id, onlineFor) }

func (d *Daemon) heardWithin(id int, within failover.Instant) bool {
	now := d.now()
	return slices.ContainsFunc(d.parts.heartbeat.it.Links(), func(l linkState) bool {
		return l.Peer == id && l.Heard >= 0 && now-l.Heard < within
	})
}

// onlineFor is how long a head counts as online after its last word, for people: decisions have their own times.
const onlineFor = time.Second

// reload reads the configuration, if it is another one, and makes the parts fit.
func (d *Daemon) reload() {
	c, err := ReadConfig(d.opts.Dir)
	if errors.Is(err, ErrNoConfig) {
		if d.config.Self != "" && !d.removed {
			d.removed = true
			d.event("owner", "this head is to own nothing any more", false)
		}
		return
	}
	d.troubled("configuration", err)
	if err != nil {
		return // what is in force stays so
	}
	if d.config.Version != c.Version && d.config.Self != "" {
		d.event("owner", fmt.Sprintf("version %d of the cluster's configuration is in force", c.Version), false)
	}
	if d.record == nil || d.config.Cluster != c.Cluster {
		err := d.openRecord(c.Cluster)
		d.troubled("record", err)
		if err != nil {
			return
		}
	}
	d.cross(c)
	d.config, d.removed = c, false
	d.events.head = c.Self
	d.parts.apply(c)
	d.openWatchdog()
}

// forget is the end of a head that was taken out of its cluster. What it was is another cluster's business.
func (d *Daemon) forget() {
	d.parts.close()
	d.closeRecord()
	d.parts = newParts(d)
	d.config, d.memory, d.last, d.removed, d.started = Config{}, failover.Memory{}, failover.Decision{}, false, false
	d.prepared, d.shutFor, d.announced = nil, nil, announcement{}
	d.trouble = map[string]string{}
}

// openRecord opens the durable record of this head in a cluster. Another cluster's terms mean nothing here.
func (d *Daemon) openRecord(cluster string) error {
	d.closeRecord()
	record, damage, err := openRecord(d.clusterPath(recordName, cluster))
	if err != nil {
		return err
	}
	d.record = record
	if damage != nil {
		d.event("owner", damage.Error()+"; this head claims nothing before another one has told it the epoch", true)
	}
	return nil
}

// clusterPath is where something of one cluster is kept: a head may leave its cluster, and join another.
func (d *Daemon) clusterPath(name, cluster string) string {
	sum := sha256.Sum256([]byte(cluster))
	return filepath.Join(d.opts.Dir, fmt.Sprintf("%s-%x", name, sum[:6]))
}

func (d *Daemon) closeRecord() {
	if d.record != nil {
		_ = d.record.Close() // all of it is on the disk
		d.record, d.write = nil, nil
	}
}
