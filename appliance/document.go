package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/data"
	"masthead/appliance/fence"
	"masthead/appliance/ownership"
	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/images/strict"
	"masthead/node/serial"
	"masthead/node/wire"
)

// A document that is right by itself may still not fit this cluster. Here is what only a head can tell: whose the addresses
// are, whether there are such nodes, whether the fence agents take these parameters, whether the secrets are there.

// faults collects what is wrong with a document, each with its line.
type faults struct {
	lines strict.Lines
	errs  []error
}

func (f *faults) add(field, value, format string, args ...any) {
	f.errs = append(f.errs, &strict.FieldError{File: documentName, Line: f.lines.Of(field), Field: field, Value: value, Reason: fmt.Sprintf(format, args...)})
}

// checkDocument refuses what does not fit this cluster, and gives what works and is not what one wants.
func (h *Head) checkDocument(ctx context.Context, before string, req wire.ClusterChange, doc configuration.Document, now time.Time) ([]string, error) {
	f, warnings, err := h.checkFit(ctx, before, req.Text, doc, h.reg, now)
	if err != nil {
		return nil, err
	}
	warnings = slices.Concat(warnings, h.documentWarnings(doc), h.volumeWarnings(doc))
	missing := h.missingSecrets(req.Text)
	var fix error
	for _, name := range missing {
		if req.DryRun {
			warnings = append(warnings, fmt.Sprintf("there is no secret %s yet: masthead cluster secret %s --file FILE", name, name))
			continue
		}
		f.errs = append(f.errs, fmt.Errorf("%s: there is no secret %q", documentName, name))
		fix = &problem{try: "masthead cluster secret " + name + " --file FILE"}
	}
	if len(f.errs) > len(missing) || req.DryRun {
		fix = nil // the document comes first
	}
	if err := errors.Join(f.errs...); err != nil {
		return nil, tried(err, fix)
	}
	return warnings, nil
}

// nodes are those that a document is to fit: the registry's, or those that there are after an import.
type nodes interface {
	Record(name string) (registry.Record, bool)
	ByAddress(a netip.Addr) (registry.Record, bool)
}

// checkFit finds what of a document does not fit this cluster, with these nodes and whatever secrets.
func (h *Head) checkFit(ctx context.Context, before, text string, doc configuration.Document, n nodes, now time.Time) (f *faults, warnings []string, err error) {
	lines, err := strict.Decode(documentName, []byte(text), new(configuration.Document))
	if err != nil && !errors.Is(err, strict.ErrEmpty) {
		return nil, nil, err
	}
	f = &faults{lines: lines}
	h.checkAddresses(f, doc, n, now)
	h.checkVoters(f, doc, n)
	checkPlain(f, doc)
	checkSerial(f, doc)
	h.checkVolumes(ctx, f, before, doc)
	return f, h.checkFences(ctx, f, before, doc), nil
}

// tried is err with what another one says is to be typed.
func tried(err, fix error) error {
	var p *problem
	if errors.As(fix, &p) {
		return &problem{detail: err.Error(), try: p.try}
	}
	return err
}

// checkVolumes refuses to take a volume from under what uses it, and to have one head know it by another number than the other.
func (h *Head) checkVolumes(ctx context.Context, f *faults, before string, doc configuration.Document) {
	was, err := configuration.Parse(documentName, []byte(before))
	if err != nil {
		return // nothing is in force
	}
	for _, p := range data.CheckChange(was.Data, doc.Data) {
		f.add(fmt.Sprintf("data[%d].%s", p.Index, p.Field), p.Value, "%s", p.Reason)
	}
	removed := data.Removed(was.Data, doc.Data)
	if len(removed) == 0 {
		return
	}
	all, err := h.allData(ctx)
	if err != nil {
		f.add("data", "", "nobody knows whether %s is in use: %v", strings.Join(removed, ", "), err)
		return
	}
	owner := "" // asked after the copies: who has become it meanwhile must be among those that answered
	if s, err := h.owner.Owner(ctx); err == nil {
		owner = s.Owner
	}
	copies := ownership.Copies(h.ownerHeads())
	for _, name := range removed {
		if why := inUse(name, owner, copies, all); why != "" {
			f.add("data", "", "%s", why)
		}
	}
}

// volumeWarnings say what this head lacks for its copies. It is no reason to refuse them: a package or a disk may come later, and
// nobody can tell of the other head.
func (h *Head) volumeWarnings(doc configuration.Document) []string {
	if !slices.Contains(ownership.Copies(h.ownerHeads()), h.cfg.Name) {
		return nil
	}
	return data.Lacks(doc.Data, h.cfg.Name)
}

// oldWishes forget what was wanted of services that had the names of new ones. That is done when a name comes, and not when it goes:
// a head that heard of the wish first would start what is disabled.
func (h *Head) oldWishes(before string, doc configuration.Document) (forget []state.Op) {
	was, err := configuration.Parse(documentName, []byte(before))
	if err != nil {
		return nil // nothing is in force
	}
	for _, s := range doc.AllServices() {
		if _, ok := serviceOf(was, s.Name); !ok && h.wish(s.Name) != "" {
			forget = append(forget, state.Delete(state.KindService, s.Name))
		}
	}
	return forget
}

// checkAddresses refuses virtual addresses that somebody has already.
func (h *Head) checkAddresses(f *faults, doc configuration.Document, n nodes, now time.Time) {
	at := map[string]netip.Prefix{}
	for i, v := range doc.VIPs {
		at[fmt.Sprintf("vips[%d].address", i)] = v.Address
	}
	for i, s := range doc.Services {
		for j, r := range s.Resources {
			if r.IP != nil {
				at[fmt.Sprintf("services[%d].resources[%d].ip.address", i, j)] = r.IP.Address
			}
		}
	}
	beats := map[netip.Addr]string{}
	for name, head := range doc.Heads {
		for _, a := range head.Heartbeats {
			beats[a] = name
		}
	}
	for _, field := range slices.Sorted(maps.Keys(at)) {
		a := at[field].Addr()
		if name, ok := h.headAt(a); ok {
			f.add(field, a.String(), "head %s has it, and a virtual address is nobody's own", name)
		} else if name, ok := beats[a]; ok {
			f.add(field, a.String(), "head %s has it for its heartbeats", name)
		} else if rec, ok := n.ByAddress(a); ok {
			f.add(field, a.String(), "it is reserved for node %s: masthead node set %s --address NEW", rec.Name, rec.Name)
		} else if l, ok := h.reg.LeaseByIP(a); ok && l.MAC != "" && l.Expires.After(now) {
			f.add(field, a.String(), "DHCP has leased it to %s until %s", l.MAC, l.Expires.UTC().Format(time.RFC3339))
		}
	}
}

// checkVoters refuses arbiters that do not fit the heads, and witnesses that could not be asked.
func (h *Head) checkVoters(f *faults, doc configuration.Document, n nodes) {
	if count := len(h.heads()); count > 2 && (doc.Arbiter == configuration.ArbiterPair || doc.Arbiter == configuration.ArbiterPanel) {
		f.add("arbiter", string(doc.Arbiter), "it is for two heads, and the cluster has %d: leave it out", count)
	}
	for i, name := range doc.Witnesses {
		field := fmt.Sprintf("witnesses[%d]", i)
		if _, ok := h.heads()[name]; ok {
			f.add(field, name, "it is a head, and votes already")
		} else if rec, ok := n.Record(name); !ok {
			f.add(field, name, "there is no such node: masthead node list")
		} else if !rec.Address.IsValid() {
			f.add(field, name, "it has no reserved address, and is asked by its address: masthead node set %s --address ADDRESS", name)
		}
	}
}

// checkSerial refuses cables that cannot be. What is in force already stays so: a link that does not work is less than a
// document that nobody can read.
func checkSerial(f *faults, doc configuration.Document) {
	for _, name := range slices.Sorted(maps.Keys(doc.Heads)) {
		for i, s := range doc.Heads[name].Serial {
			at := fmt.Sprintf("heads.%s.serial[%d]", name, i)
			if err := serial.CheckDevice(s.Device); err != nil {
				f.add(at+".device", s.Device, "%v", err)
			}
			if s.Baud != 0 {
				if err := serial.CheckBaud(s.Baud); err != nil {
					f.add(at+".baud", fmt.Sprint(s.Baud), "%v", err)
				}
			}
			// The other end of the cable is a port of a head, and stands there.
			if _, known := doc.Heads[s.Peer]; s.Peer == name {
				f.add(at+".peer", s.Peer, "is this head itself: want the one at the other end")
			} else if s.Peer != "" && !known {
				f.add(at+".peer", s.Peer, "is not among heads")
			}
		}
	}
}

// checkPlain refuses passwords in a document that everybody may be shown.
func checkPlain(f *faults, doc configuration.Document) {
	plain := func(field, value string) {
		if value != "" && !strings.HasPrefix(value, configuration.SecretPrefix) {
			// Its value is not told again: this error is shown, and logged elsewhere.
			f.add(field, "", "a password must not stand in the document: masthead cluster secret NAME --file FILE, and here \"%sNAME\"", configuration.SecretPrefix)
		}
	}
	params := func(field string, all map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if fence.Secret(name) {
				plain(field+".params."+name, all[name])
			}
		}
	}
	for i, d := range doc.FenceDevices {
		params(fmt.Sprintf("fence_devices[%d]", i), d.Params)
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Heads)) {
		for i, level := range doc.Heads[name].Fence {
			for j, step := range level {
				params(fmt.Sprintf("heads.%s.fence[%d][%d]", name, i, j), step.Params)
			}
		}
	}
	plain("mail.password", doc.Mail.Password)
}

// agentsWait bounds asking all fence agents for their parameters: each is a program that takes a second or two.
const agentsWait = 10 * time.Second

// checkFences asks the fence agents of this machine whether they take what the document gives them. What was in force
// before keeps no other change out: a program may be gone meanwhile.
func (h *Head) checkFences(ctx context.Context, f *faults, before string, doc configuration.Document) (warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, agentsWait)
	defer cancel()
	conf := fenceConfig(doc)
	err := fence.Check(ctx, conf)
	was, _ := configuration.Parse(documentName, []byte(before)) // in force, so it is right
	old := fenceConfig(was)
	known := reflect.DeepEqual(conf.Devices, old.Devices) && reflect.DeepEqual(conf.Heads, old.Heads)
	for _, p := range fence.Problems(err) {
		field := fmt.Sprintf("heads.%s.fence[%d][%d]", p.Head, p.Level, p.Step)
		if p.Head == "" {
			field = fmt.Sprintf("fence_devices[%d]", slices.IndexFunc(doc.FenceDevices, func(d fence.Device) bool { return d.Name == p.Device }))
		}
		switch {
		case ctx.Err() != nil:
			warnings = append(warnings, fmt.Sprintf("%s: its parameters could not be checked within %v: masthead fence test", field, agentsWait))
		case known:
			warnings = append(warnings, fmt.Sprintf("%s: %v", field, p.Err))
		default:
			reason := p.Err.Error()
			var fix interface{ Try() string }
			if errors.As(p.Err, &fix) {
				reason += ": " + fix.Try()
			}
			f.add(field, "", "%s", reason)
		}
	}
	return warnings
}

func fenceConfig(doc configuration.Document) fence.Config {
	c := fence.Config{Devices: doc.FenceDevices, Heads: map[string][][]fence.Step{}, Log: slog.New(slog.DiscardHandler)}
	for name, head := range doc.Heads {
		if len(head.Fence) > 0 {
			c.Heads[name] = head.Fence
		}
	}
	return c
}
