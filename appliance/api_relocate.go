package appliance

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"masthead/appliance/configuration"
	wanted "masthead/appliance/service"
	"masthead/node/wire"
)

// relocate moves a service, and with it all that the owner holds: a service on another head than the virtual address would
// be nobody's. A head on which the service must not run is no place to move it to.
func (h *Head) relocate(ctx context.Context, c caller, doc configuration.Document, name string, req wire.ServiceChange) (wire.ServiceChanged, error) {
	ask := wire.SwitchRequest{To: req.To, Why: "service " + name + " is relocated", DryRun: true}
	plan, err := h.switchOwner(ctx, c, ask)
	if err != nil {
		return wire.ServiceChanged{}, err
	}
	if s, ok := serviceOf(doc, name); ok {
		if where, may := mayRun(doc, s, plan.To); !may {
			return wire.ServiceChanged{}, &problem{http.StatusConflict,
				fmt.Sprintf("service %s must not run on %s: domain %s is restricted to %s", name, plan.To, s.Domain, strings.Join(where, ", ")),
				"masthead head switch --to " + plan.To + ", to move the rest and have it stopped"}
		}
	}
	if !req.DryRun {
		ask.To, ask.DryRun = plan.To, false
		if plan, err = h.switchOwner(ctx, c, ask); err != nil {
			return wire.ServiceChanged{}, err
		}
	}
	return wire.ServiceChanged{Name: name, Applied: !req.DryRun, Switched: &plan}, nil
}

// document is the configuration in force.
func (h *Head) document() (configuration.Document, error) {
	c, _, err := h.clusterConfig()
	if err != nil {
		return configuration.Document{}, err
	}
	return configuration.Parse("configuration", []byte(c.Text))
}

func serviceOf(doc configuration.Document, name string) (wanted.Service, bool) {
	all := doc.AllServices()
	i := slices.IndexFunc(all, func(s wanted.Service) bool { return s.Name == name })
	if i < 0 {
		return wanted.Service{}, false
	}
	return all[i], true
}

// mayRun tells whether a service's failover domain lets it run on a head, and where it does.
func mayRun(doc configuration.Document, s wanted.Service, head string) (heads []string, may bool) {
	for _, d := range doc.Domains {
		if d.Name == s.Domain && d.Restricted {
			return d.Heads, slices.Contains(d.Heads, head)
		}
	}
	return nil, true
}
