package ownership

import "masthead/appliance/failover"

// operator keeps what a person has asked for until it is settled.
type operator struct {
	wish failover.Operator
	// done is told how each was settled.
	switched, promoted, confirmed []chan string
}

// settle tells those who wait how their wishes were settled, and forgets the wishes.
func (o *operator) settle(done failover.Done) {
	tell := func(text string, waiting *[]chan string) bool {
		if text == "" {
			return false
		}
		for _, c := range *waiting {
			c <- text // each has room for its one answer
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
func (o *operator) forget(which *[]chan string, answer chan string) (left bool) {
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
