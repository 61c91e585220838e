package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// Seconds after which a machine asks again.
const (
	retryApproval = 5.0
	retryImage    = 10.0
)

// maxBootID is longer than the UUID that Linux gives each boot.
const maxBootID = 64

// facts are what a verdict depends on.
type facts struct {
	record   Record
	rival    string // not empty: why this cannot be the machine that has the name
	image    images.Digest
	imageErr error
}

// judge decides what a machine is told.
func judge(f facts) wire.Spec {
	spec := wire.Spec{Name: f.record.Name}
	switch {
	case f.rival != "":
		spec.Verdict, spec.Reason = wire.VerdictRefused, f.rival
		spec.Try = "give one of the two another MAC address, then masthead node show " + f.record.Name
	case !f.record.Approved:
		spec.Verdict, spec.Reason = wire.VerdictWait, "this machine waits for the administrator's approval"
		spec.Try, spec.RetryAfter = "masthead node approve "+f.record.Name, retryApproval
	case f.imageErr != nil:
		spec.Verdict, spec.Reason = wire.VerdictWait, "no image for this machine: "+f.imageErr.Error()
		spec.Try, spec.RetryAfter = "masthead image list, then masthead node set "+f.record.Name+" --image TAG", retryImage
	default:
		spec.Verdict, spec.Image, spec.Root = wire.VerdictBoot, f.image, f.record.Root
	}
	return spec
}

// rival tells whether a hello can come from the machine that has the MAC address: two that share it (cloned virtual
// machines) differ in their SMBIOS UUID while both live. A board that was exchanged differs too, but then the old one
// is silent.
func rival(name string, known, said wire.Inventory, b Boot, boot string, seen, now time.Time) string {
	if known.UUID == "" || said.UUID == "" || known.UUID == said.UUID || b.ID == "" || b.ID == boot ||
		!b.done(wire.StageUp) || now.Sub(seen) > DownAfter {
		return ""
	}
	return fmt.Sprintf("two machines claim the name %s: this one (SMBIOS %s) and one that runs (SMBIOS %s) have the same MAC address", name, said.UUID, known.UUID)
}

// Hello answers a machine that asks what to run: verdict, name, image and root mode; addresses, tokens and names of
// others are the caller's to add. A machine that is no node yet becomes one that waits for approval. from is where it
// asks from. A hello that makes no sense is an ErrInvalid.
func (r *Registry) Hello(ctx context.Context, h wire.Hello, from netip.Addr, now time.Time) (wire.Spec, error) {
	mac, err := ParseMAC(h.MAC)
	if err != nil || h.Boot == "" || len(h.Boot) > maxBootID || !digestOrNone(h.Image) {
		return wire.Spec{}, &Refusal{Kind: ErrInvalid, Field: "hello", Value: h.MAC, Reason: "want a MAC address, the id of the boot, and no image or its digest"}
	}
	node, ok := r.machine(mac, h.Inventory)
	if !ok {
		name, _, err := r.Discover(ctx, Discovery{MAC: mac, Address: from, Arch: h.Inventory.Firmware, Time: now})
		if err != nil {
			return wire.Spec{}, err
		}
		if node, ok = r.Record(name); !ok {
			return wire.Spec{}, noNode(name) // removed just now
		}
	}
	f := facts{record: node}
	if h.Role == images.RoleHead {
		f.image = h.Image // a head runs what it booted from; images of the store are for workers
	} else {
		f.image, f.imageErr = r.imageOf(node)
	}

	r.mu.Lock()
	l := r.of(node.MAC)
	known := r.made[node.MAC]
	seen := l.seen
	if phase, _ := r.phase(node, l, now); phase == wire.PhaseUp {
		seen = now // another head hears of it
	}
	f.rival = rival(node.Name, known, h.Inventory, l.present(), h.Boot, seen, now)
	spec := judge(f)
	if f.rival == "" {
		r.serve(l)
		b := l.boot(h.Boot, now)
		if b.Image != spec.Image {
			b.Image, l.unsaved = spec.Image, true
		}
		l.seen = now
	}
	// A machine that waits asks every few seconds: that is one event.
	if said := h.Boot + string(spec.Verdict) + spec.Reason; said != l.answered {
		l.answered = said
		r.event(helloEvent(node, h, spec, from, now))
	}
	r.mu.Unlock()

	if f.rival == "" && !reflect.DeepEqual(known, h.Inventory) {
		if err := r.saveInventory(ctx, node.MAC, h.Inventory); err != nil {
			// A machine boots without its inventory being written; a full disk must not stop a cluster.
			r.conf.Log.Warn("an inventory was not written", "node", node.Name, "err", err)
		}
	}
	return spec, nil
}

func helloEvent(node Record, h wire.Hello, spec wire.Spec, from netip.Addr, now time.Time) wire.Event {
	e := wire.Event{Time: now, Kind: "hello", Node: node.Name, MAC: node.MAC, Text: "says hello"}
	if from.IsValid() { // not a head's own, which comes over its socket
		e.Text += " from " + from.String()
	}
	switch spec.Verdict {
	case wire.VerdictBoot:
		if spec.Image != "" {
			e.Text += ", runs image " + spec.Image.Short()
		}
		if h.Image != "" && h.Image != spec.Image {
			e.Text += fmt.Sprintf("; its kernel is still that of %s: boot it again", h.Image.Short())
		}
	default:
		e.Text += fmt.Sprintf(": %s: %s", spec.Verdict, spec.Reason)
		e.Failed = spec.Verdict == wire.VerdictRefused
	}
	return e
}

// machine finds the node of a MAC address, or of another NIC of the same machine, which the SMBIOS UUID must confirm.
func (r *Registry) machine(mac string, said wire.Inventory) (Record, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e, ok := r.nodes[r.byMAC.keeper[mac]]; ok {
		return e.Record, true
	}
	for _, other := range append(said.MACs, r.alias[mac]) {
		m, err := ParseMAC(other)
		if err != nil || said.UUID == "" || r.made[m].UUID != said.UUID {
			continue
		}
		if e, ok := r.nodes[r.byMAC.keeper[m]]; ok {
			return e.Record, true
		}
	}
	return Record{}, false
}

func (r *Registry) saveInventory(ctx context.Context, mac string, inv wire.Inventory) error {
	op, err := state.Put(state.KindInventory, mac, inv)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.inventory(mac, inv)
	r.mu.Unlock()
	_, err = r.conf.Store.Apply(ctx, state.Origin{Who: mac, Where: "hello"}, op)
	return err
}

// digestOrNone tells whether what a machine says of an image can be one.
func digestOrNone(d images.Digest) bool { return d == "" || d.Valid() }

// Report takes in what a machine says of its boot and itself. The caller has checked that the token is of that MAC
// address and boot. A boot that never said hello, or that this head has forgotten, is an ErrNotFound: the machine then
// says hello again and tells all its stages, where one report has only the last.
func (r *Registry) Report(rep wire.Report, now time.Time) error {
	mac, err := ParseMAC(rep.MAC)
	if err != nil || rep.Boot == "" || len(rep.Boot) > maxBootID || len(rep.Stages) > len(wire.Stages()) || !digestOrNone(rep.Running) {
		return &Refusal{Kind: ErrInvalid, Field: "report", Value: rep.MAC, Reason: "want a MAC address, the id of the boot, each stage once, and no image or its digest"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	mac = r.boots(mac)
	name, ok := r.byMAC.keeper[mac]
	if !ok {
		return &Refusal{Kind: ErrNotFound, Field: "mac", Value: mac, Reason: "no node has this MAC address", Fix: "masthead node list"}
	}
	l := r.live[mac]
	b := l.known(rep.Boot)
	if b == nil {
		return &Refusal{Kind: ErrNotFound, Field: "boot", Value: rep.Boot, Reason: "no hello of this boot of " + name + " is known", Fix: "wait: the machine says hello again by itself"}
	}
	if rep.Running != "" && rep.Running != b.Running {
		b.Running, l.unsaved = rep.Running, true
	}
	for _, s := range rep.Stages {
		if outside(s.Stage) {
			continue // the head saw these itself
		}
		s.Time = wall(s, rep.Uptime, now)
		before, had := b.stage(s.Stage)
		if had && before.Outcome == s.Outcome && before.At == s.At && before.Cause == s.Cause {
			continue // agents tell all stages each time
		}
		b.put(s)
		l.unsaved = true
		if s.Outcome == wire.OutcomeFailed && !(had && before.Outcome == wire.OutcomeFailed && before.Cause == s.Cause) {
			r.event(wire.Event{Time: now, Kind: "report", Node: name, MAC: mac, Failed: true, Text: fmt.Sprintf("stage %s failed: %s", s.Stage, s.Cause)})
		}
	}
	if rep.Boot != l.present().ID && l.stillRuns(rep.Boot, now) {
		r.event(wire.Event{Time: now, Kind: "report", Node: name, MAC: mac, Text: "still runs: what was fetched in its name was not a restart of it"})
	}
	if rep.Boot != l.present().ID {
		return nil // a late word of an earlier boot says nothing of the present one
	}
	if before, moved := r.serve(l); moved {
		text := "now served by " + r.conf.Head + ", before by " + before
		if _, dead := r.dead[before]; dead {
			text += ", which is dead"
		}
		r.event(wire.Event{Time: now, Kind: "node", Node: name, MAC: mac, Text: text})
	}
	l.seen = now
	if rep.Root != nil {
		for _, e := range rootEvents(l.root, rep.Root) {
			e.Time, e.Kind, e.Node, e.MAC = now, "root", name, mac
			r.event(e)
		}
		if rootNews(l.root, rep.Root) {
			l.unsaved = true
		}
		root := *rep.Root
		l.root = &root
	}
	if rep.Note != "" {
		r.event(wire.Event{Time: now, Kind: "report", Node: name, MAC: mac, Text: rep.Note})
	}
	return nil
}

// wall is when a stage ended by the head's clock: machines may have no clock, but they count their seconds.
func wall(s wire.StageResult, uptime float64, now time.Time) time.Time {
	ago := uptime - s.At
	if s.At <= 0 || ago < 0 || ago > 30*24*3600 {
		return now
	}
	return now.Add(-time.Duration(ago * float64(time.Second)))
}

// rootNews tells whether the other heads are to know a new root status: whether it is whole, and whether it waits.
func rootNews(before, after *wire.RootStatus) bool {
	whole := func(s *wire.RootStatus) bool { return s != nil && s.Present >= s.Chunks }
	waits := func(s *wire.RootStatus) bool { return s != nil && s.Waiting > 0 }
	return before == nil || whole(before) != whole(after) || waits(before) != waits(after)
}

// rootEvents tells what a new root status says that the last one did not.
func rootEvents(before, after *wire.RootStatus) []wire.Event {
	if before == nil {
		before = &wire.RootStatus{Source: after.Source}
	}
	var events []wire.Event
	if after.Source != before.Source {
		if after.Source == "" {
			events = append(events, wire.Event{Text: "no source of its root answers; reads wait", Failed: true})
		} else {
			events = append(events, wire.Event{Text: "reads its root from " + after.Source})
		}
	}
	if after.Errors > before.Errors {
		events = append(events, wire.Event{Text: fmt.Sprintf("%d fetches of its root failed or did not verify", after.Errors-before.Errors), Failed: true})
	}
	return events
}

// Observe takes in a stage that the head sees itself: a DHCP answer, a file that was fetched. The machine may be
// unknown yet.
func (r *Registry) Observe(mac string, s wire.StageResult, now time.Time) error {
	m, err := ParseMAC(mac)
	if err != nil {
		return err
	}
	if !outside(s.Stage) {
		return errors.New("stage " + string(s.Stage) + " is not seen from outside")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m = r.boots(m)
	if _, known := r.nodes[r.byMAC.keeper[m]]; !known && r.live[m] == nil && len(r.live) >= len(r.nodes)+maxDiscovered {
		return nil // a network that invents MAC addresses
	}
	if s.Time.IsZero() {
		s.Time = now
	}
	l := r.of(m)
	if r.comes(s.Stage) {
		r.serve(l)
	}
	l.observe(s, now)
	return nil
}
