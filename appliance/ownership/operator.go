package ownership

import (
	"net/http"
	"strings"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

// operator keeps what a person has asked for until it is settled.
type operator struct {
	wish failover.Operator
	// done is told how each was settled.
	switched, promoted, confirmed []chan settled
}

// settled is how a wish was settled, in the words of failover.Done, and who owns the cluster since under which epoch.
type settled struct {
	text  string
	epoch failover.Epoch
}

// refused makes an error of a wish that was not fulfilled.
func (s settled) refused() error {
	for _, how := range []string{failover.Refused, failover.Failed} {
		if why, no := strings.CutPrefix(s.text, how); no {
			return &problem{http.StatusConflict, why, "masthead status --why"}
		}
	}
	return nil
}

// switched is the answer to a switch that was planned so, and has been settled.
func (s settled) switched(plan wire.SwitchAnswer) (wire.SwitchAnswer, error) {
	if err := s.refused(); err != nil {
		return wire.SwitchAnswer{}, err
	}
	plan.Epoch = s.epoch.String()
	return plan, nil
}

// settle tells those who wait how their wishes were settled, and forgets the wishes.
func (o *operator) settle(done failover.Done) {
	tell := func(text string, waiting *[]chan settled) bool {
		if text == "" {
			return false
		}
		for _, c := range *waiting {
			c <- settled{text, done.Epoch} // each has room for its one answer
		}
		*waiting = nil
		return true
	}
	if tell(done.Switch, &o.switched) {
		o.wish.Switch = ""
	}
	if tell(done.Promote, &o.promoted) {
		o.wish.Promote, o.wish.Force = false, false
	}
	if tell(done.ConfirmDead, &o.confirmed) {
		o.wish.ConfirmDead = ""
	}
}

// forget drops a wish that nobody waits for any more, so that it is not acted on later.
func (o *operator) forget(which *[]chan settled, answer chan settled) (left bool) {
	kept := (*which)[:0]
	for _, c := range *which {
		if c != answer {
			kept = append(kept, c)
		}
	}
	*which = kept
	return len(kept) > 0
}

// unhealthy is why this head should not own; empty: nothing speaks against it.
func (d *Daemon) unhealthy() string {
	if m := d.parts.monitors; m.made {
		if why := m.it.Unhealthy(); why != "" {
			return why
		}
	}
	if d.parts.services != nil {
		return d.parts.services.Relocate()
	}
	return ""
}
