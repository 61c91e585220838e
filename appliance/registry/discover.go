package registry

import (
	"context"
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
	who := state.Origin{Who: "discovery", Where: d.Address.String()}
	var made Record
	err = r.change(ctx, who, func() ([]edit, error) {
		made = Record{}
		if name = r.byMAC[r.boots(mac)]; name != "" {
			return nil, nil
		}
		made = Record{Name: "x-" + strings.ReplaceAll(mac, ":", ""), MAC: mac}
		if r.settings.AutoApprove {
			made.Name, made.Approved = r.nextName(), true
		} else if r.waiting() >= maxDiscovered {
			return nil, &Refusal{Kind: ErrInvalid, Field: "mac", Value: mac, Reason: fmt.Sprintf("%d machines wait for approval already", maxDiscovered), Fix: "masthead node list approved=false"}
		}
		if _, taken := r.nodes[made.Name]; taken {
			return nil, &Refusal{Kind: ErrConflict, Field: "name", Value: made.Name, Reason: "two machines claim this name; the other is " + r.nodes[made.Name].MAC, Fix: "masthead node show " + made.Name}
		}
		return []edit{{after: made}}, nil
	})
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

// waiting counts the machines without approval. The caller holds mu.
func (r *Registry) waiting() int {
	n := 0
	for _, e := range r.nodes {
		if !e.Approved {
			n++
		}
	}
	return n
}

// nextName is the first free name of the pattern, counting names that a change under way takes. The caller holds mu.
func (r *Registry) nextName() string {
	for n := 1; ; n++ {
		name := nodeName(r.settings.NamePattern, n)
		_, taken := r.nodes[name]
		_, claimed := r.claims[claim{"name", name}]
		if !taken && !claimed {
			return name
		}
	}
}

// NextName is the name that the next machine would get by the pattern.
func (r *Registry) NextName() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.nextName()
}
