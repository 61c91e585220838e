package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"masthead/appliance/state"
	"masthead/node/wire"
)

// maxDiscovered bounds the machines that wait for approval: a network that invents MAC addresses must not fill the
// state.
const maxDiscovered = 10_000

// Discovery is what is known of a machine when it is first seen.
type Discovery struct {
	MAC     string
	Address netip.Addr // where it is now; it is not reserved
	Arch    string     // firmware, as DHCP says it
	Time    time.Time
}

// Discover makes a node of a machine that is none yet, and gives its name: found false if it was a node already. It
// waits for approval under a name made of its MAC address, or is approved under the next free name of the pattern,
// as the settings say. It blocks until the node is durable.
func (r *Registry) Discover(ctx context.Context, d Discovery) (name string, found bool, err error) {
	mac, err := ParseMAC(d.MAC)
	if err != nil {
		return "", false, err
	}
	who := state.Origin{Who: "discovery", Where: "unknown"}
	if d.Address.IsValid() {
		who.Where = d.Address.String()
	}
	var made Record
	for tries := range maxGrants {
		name, made, err = r.discover(ctx, who, mac, tries > 0)
		var gone *awayError
		if !errors.As(err, &gone) {
			break // else the next free name is another head's to give
		}
	}
	if err != nil || made.Name == "" {
		return name, false, err
	}
	text := "is discovered"
	if d.Arch != "" {
		text += ": " + d.Arch
	}
	if made.Approved {
		text += ", approved by the settings"
	} else {
		text += ", waits for approval: masthead node approve " + made.Name
	}
	r.Event(wire.Event{Time: d.Time, Kind: "node", Node: made.Name, MAC: mac, Text: text})
	return made.Name, true, nil
}

// maxGrants is how many heads are asked for a name, one after the other, when they do not answer.
const maxGrants = 4

func (r *Registry) discover(ctx context.Context, who state.Origin, mac string, own bool) (name string, made Record, err error) {
	_, err = r.change(ctx, who, func() ([]edit, error) {
		made = Record{}
		if name = r.byMAC.keeper[r.boots(mac)]; name != "" {
			return nil, nil
		}
		made = Record{Name: nameOfMAC(mac), MAC: mac}
		if r.settings.AutoApprove {
			made.Name, made.Approved = r.nextName(own), true
			own = true // should another head have given this name away at the same moment
			if made.Name == "" {
				return nil, &Refusal{Kind: ErrConflict, Field: "mac", Value: mac, Reason: "no head that gives names away answers", Fix: "masthead head list"}
			}
		} else if r.waiting >= maxDiscovered {
			return nil, &Refusal{Kind: ErrInvalid, Field: "mac", Value: mac, Reason: fmt.Sprintf("%d machines wait for approval already", maxDiscovered), Fix: "masthead node list approved=false"}
		}
		if _, taken := r.nodes[made.Name]; taken {
			return nil, &Refusal{Kind: ErrConflict, Field: "name", Value: made.Name, Reason: "two machines claim this name; the other is " + r.nodes[made.Name].MAC, Fix: "masthead node show " + made.Name}
		}
		return []edit{{after: made}}, nil
	})
	return name, made, err
}

// nameOfMAC is what a machine is called that nobody has named.
func nameOfMAC(mac string) string { return "x-" + strings.ReplaceAll(mac, ":", "") }

// nextName is the first free name of the pattern, counting names that a change under way takes; empty if no head that
// could give one away answers. own asks for one that this head gives away itself, if it gives away any. The caller
// holds mu for writing.
func (r *Registry) nextName(own bool) string {
	all, mine := r.slots()
	numbers := &r.numbers[0]
	if own && mine != 0 {
		all, numbers = mine, &r.numbers[1]
	}
	return numbers.find(r.settings.NamePattern, all, func(name string) bool {
		_, taken := r.nodes[name]
		_, claimed := r.claims[claim{"name", name}]
		return taken || claimed
	})
}

// freeNumber takes notice that a name may have become free. The caller holds mu for writing.
func (r *Registry) freeNumber(name string) {
	for i := range r.numbers {
		r.numbers[i].free(name)
	}
}

// NextName is the name that the next machine would get by the pattern.
func (r *Registry) NextName() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nextName(false)
}
