package appliance

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"masthead/appliance/state"
	"masthead/node/wire"
)

// heads are the configured heads, this one too, as the state has them.
func (h *Head) heads() map[string]wire.HeadRecord {
	all := map[string]wire.HeadRecord{}
	for _, rec := range h.db.List(state.KindHead, "") {
		r, err := state.Decode[wire.HeadRecord](rec)
		if err != nil {
			h.log.Error("a head's record is not understood", "head", rec.Key.Name, "err", err)
			continue
		}
		all[rec.Key.Name] = r
	}
	return all
}

// headAt names the head that has an address.
func (h *Head) headAt(a netip.Addr) (name string, ok bool) {
	if a == h.cfg.Address.Addr() {
		return h.cfg.Name, true
	}
	for name, r := range h.heads() {
		if r.Address == a {
			return name, true
		}
	}
	return "", false
}

func (h *Head) isHead(a netip.Addr) bool {
	_, ok := h.headAt(a)
	return ok
}

// headsFor are the configured heads in the order in which a node is to try them.
func (h *Head) headsFor(node string) []wire.Head {
	if !h.cfg.Address.IsValid() {
		return nil // nobody can reach this head, so it is in a cluster with nobody
	}
	records := h.heads()
	var all []wire.Head
	for _, name := range h.reg.HeadOrder(node) {
		r, ok := records[name]
		if !ok || name == h.cfg.Name && len(records) > 1 && h.member.phase() == phaseLeaving {
			continue
		}
		all = append(all, wire.Head{Name: name, URL: r.URL()})
	}
	if len(all) == 0 { // it is not in its own list yet
		all = []wire.Head{{Name: h.cfg.Name, URL: h.url()}}
	}
	return all
}

// bootHeads are the URLs for the kernel command line of a node that this head boots: its own first, as it is alive.
func (h *Head) bootHeads(node string) []string {
	urls := []string{h.url()}
	for _, head := range h.headsFor(node) {
		if !slices.Contains(urls, head.URL) {
			urls = append(urls, head.URL)
		}
	}
	return urls
}

// otherPlain are the other heads as firmware reaches them, in the order in which a node is to try them, those that do not
// answer last: firmware waits long. All heads of a cluster serve it on the same port.
func (h *Head) otherPlain(node string) []string {
	records := h.heads()
	var alive, silent []string
	for _, name := range h.reg.HeadOrder(node) {
		r, ok := records[name]
		switch url := plainURL(r.Address, h.cfg.HTTP); {
		case !ok || name == h.cfg.Name:
		case h.headAlive(name):
			alive = append(alive, url)
		default:
			silent = append(silent, url)
		}
	}
	return append(alive, silent...)
}

// addHeads adds to a status what concerns the heads together.
func (h *Head) addHeads(s *wire.Status, now time.Time) {
	s.Heads = h.headStatus(now)
	s.Degraded = degraded(s.Heads)
	s.Fetching, s.Files = h.fetching(), h.filesDiffer()
	if aside, err := h.aside(); err == nil {
		aside.Old = nil // image old lists them
		s.Aside = aside
	}
	for _, d := range h.reg.Duplicates() {
		s.Trouble = append(s.Trouble, d.String())
	}
	s.Trouble = append(s.Trouble, clockTrouble(s.Heads)...)
	s.Trouble = append(s.Trouble, h.slotTrouble()...)
	if entries, err := h.db.Audit(lostLook); err == nil { // a state that cannot be read is told elsewhere
		s.Trouble = append(s.Trouble, lostTrouble(entries, now)...)
	}
}

const (
	// lostLook is how many entries of the audit log are searched for lost changes: a status must stay cheap.
	lostLook = 200
	// lostFor is how long a lost change is trouble; it stays in the audit log.
	lostFor = 24 * time.Hour
)

// lostTrouble tells of changes that lost against ones made at the same time on another head. Pure.
func lostTrouble(entries []state.AuditEntry, now time.Time) []string {
	n := 0
	for _, e := range entries {
		if e.Conflict != nil && now.Sub(e.Time) < lostFor {
			n++
		}
	}
	look := fmt.Sprintf("masthead audit -n %d", lostLook)
	switch n {
	case 0:
		return nil
	case 1:
		return []string{"1 change was lost to a concurrent one: " + look}
	}
	return []string{fmt.Sprintf("%d changes were lost to concurrent ones: %s", n, look)}
}

// maxQuietSkew is how much the clocks of two heads may differ before people are told. NTP keeps them within
// milliseconds; what is written is refused above state.MaxSkew.
const maxQuietSkew = time.Second

// clockTrouble names the heads whose clocks differ from this one's, and what to type. Pure.
func clockTrouble(heads []wire.HeadStatus) []string {
	var all []string
	for _, head := range heads {
		if head.Self || !head.Alive || math.Abs(head.Skew) <= maxQuietSkew.Seconds() {
			continue
		}
		how := "ahead of"
		if head.Skew < 0 {
			how = "behind"
		}
		all = append(all, fmt.Sprintf("%s's clock is %.1f s %s this one's (above %.0f s changes are refused); try: chronyc makestep, or date -s TIME, on the one that is wrong",
			head.Name, math.Abs(head.Skew), how, state.MaxSkew.Seconds()))
	}
	return all
}

// degraded is why a write is on one head only: others are configured, and none of them answers. Pure.
func degraded(heads []wire.HeadStatus) string {
	var dead []string
	for _, head := range heads {
		switch {
		case head.Self:
		case head.Alive:
			return ""
		default:
			dead = append(dead, head.Name)
		}
	}
	if len(dead) == 0 {
		return ""
	}
	verb := "does"
	if len(dead) > 1 {
		verb = "do"
	}
	return fmt.Sprintf("only this head has what is written now: %s %s not answer", strings.Join(dead, ", "), verb)
}

// isHeadMAC tells whether a MAC address is that of a configured head.
func (h *Head) isHeadMAC(mac string) bool {
	rec, ok := h.reg.ByMAC(mac)
	if !ok {
		return false
	}
	_, err := h.db.Get(state.Key{Kind: state.KindHead, Name: rec.Name})
	return err == nil
}

// announceAfter is the time between a change of the heads and the word of it to the nodes.
const announceAfter = 250 * time.Millisecond

// announceHeads tells nodes at once when heads come or go, or which are theirs: a node whose only head leaves before it
// hears of another would be left alone.
func (h *Head) announceHeads(ctx context.Context) error {
	w := h.db.Watch(state.KindHead, state.KindGroup)
	defer w.Close()
	for {
		if _, err := w.Next(ctx); err != nil {
			return err
		}
		select { // the registry takes in the same change, and several come together
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(announceAfter):
		}
		h.commands.Announce()
	}
}
