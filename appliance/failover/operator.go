package failover

// confirm takes a person's word that a head is off.
func (d *decider) confirm() {
	d.cease()
	name := d.v.Operator.ConfirmDead
	if name == "" {
		return
	}
	p := d.named(name)
	switch {
	case p == nil:
		d.out.Done.ConfirmDead = "refused: there is no other head " + name
	case p.alive:
		d.out.Done.ConfirmDead = "refused: " + name + " is alive: it is heard on " + newest(p)
	case p.ID < 0 || p.ID >= MaxHeads:
		d.out.Done.ConfirmDead = "refused: " + name + " has no valid id"
	default:
		d.m.dead[p.ID] = mark{on: true, at: d.now}
		d.out.Done.ConfirmDead = name + " counts as off until it is heard"
		d.event(false, false, "a person says that ", name, " is off")
	}
}

func newest(p *other) string {
	for _, l := range p.Links {
		if l.Heard == p.last {
			return l.Kind.String() + " " + l.Name
		}
	}
	return "a link"
}

// promoted is a head that a person makes the owner. ok is false where that only waives some conditions.
func (d *decider) promoted() (next Phase, ok bool) {
	v, a := d.v, &d.v.Authority
	if why := d.barred(); why != "" {
		d.out.Done.Promote = "refused: " + why
		return 0, false
	}
	for i := range d.peers {
		p := &d.peers[i]
		if p.alive && (d.asksPeers() || a.Quorum == Up) {
			return d.entreat(), true // it can be asked
		}
	}
	if v.Probe.VIP && !v.Operator.Force {
		d.out.Done.Promote = "refused: somebody answers for a virtual address; with --force it is taken all the same"
		return 0, false
	}
	switch {
	case d.asksPeers():
		return d.win("a person has promoted it"), true
	case a.Quorum == Up:
		if d.granted() {
			return d.win("a person has promoted it"), true
		}
		return d.ask(), true
	case v.Operator.Force:
		d.m.word = true
		return d.win("a person has promoted it without a quorum"), true
	}
	d.out.Done.Promote = "refused: too few voters answer; with --force they are not asked"
	return 0, false
}

// entreat claims on a person's word from whom can be asked, or has won.
func (d *decider) entreat() Phase {
	if d.granted() {
		return d.win("a person has promoted it")
	}
	if d.v.Authority.Kind <= Pair {
		for i := range d.peers {
			if d.consent(&d.peers[i]) == "" {
				return d.ask()
			}
		}
		return d.win("a person has promoted it")
	}
	return d.ask()
}

// answerIdle settles wishes that a head which does not own cannot fulfil. o is the owner that is heard.
func (d *decider) answerIdle(o *other) {
	if o == nil {
		if d.v.Operator.Switch != "" && d.m.target < 0 && d.out.Done.Switch == "" {
			d.out.Done.Switch = "refused: this head does not own the cluster"
		}
		return
	}
	if d.v.Operator.Promote {
		d.out.Done.Promote = "refused: " + o.Name + " owns the cluster; `masthead head switch` moves it"
	}
	if d.v.Operator.Switch != "" && d.m.target < 0 && d.out.Done.Switch == "" {
		d.out.Done.Switch = "refused: " + o.Name + " owns the cluster"
	}
}

// answerActive settles the wishes that an owner can fulfil.
func (d *decider) answerActive() {
	op := &d.v.Operator
	if op.Promote {
		d.out.Done.Promote = "this head owns the cluster under epoch " + d.m.Epoch.String()
	}
	if op.Switch == "" {
		return
	}
	switch p := d.named(op.Switch); {
	case op.Switch == d.v.Self.Name:
		d.out.Done.Switch, d.out.Done.Epoch = "this head owns the cluster already", d.m.Epoch
	case op.Switch == "*":
		if to := d.heir(); to >= 0 {
			d.switchTo(to)
			return
		}
		d.out.Done.Switch = "refused: no head can take over" + bracket(d.unfitOthers())
	case p == nil:
		d.out.Done.Switch = "refused: there is no head " + op.Switch
	case d.unfit(p) != "":
		d.out.Done.Switch = "refused: " + d.unfit(p)
	default:
		d.switchTo(p.ID)
	}
}

func (d *decider) switchTo(id int) {
	d.leave(id, "the operator moves it")
	d.m.switched = true
}
