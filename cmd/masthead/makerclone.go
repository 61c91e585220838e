package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"masthead/appliance/maker"
	"masthead/appliance/pki"
	"masthead/images"
	"masthead/node/wire"
)

// cloneSteps are what is done once the machine runs this head's image and the plan is confirmed, whichever way it came there.
func (m *making) cloneSteps() []maker.Step {
	return []maker.Step{
		{Name: "install", What: "copies this head's ISO onto its disk, with slots, state and boot loader", Do: m.install},
		{Name: "overlay", What: "copies what was written over this head's root, without what is this machine's own", Do: m.copyOverlay},
		{Name: "identity", What: "leaves on it who it is, and a token to join with", Do: m.identity, Undo: m.forgetToken},
		{Name: "join", What: "restarts it from its own disk, and waits until it has joined", Do: m.join, Final: true},
	}
}

// check plans what becomes of the machine, shows it, and has it confirmed.
func (m *making) check(context.Context) error {
	if m.planned || m.joined {
		return nil
	}
	var err error
	m.plan, err = maker.NewPlan(m.master, m.target, m.f.wishes)
	var occupied *maker.OccupiedError
	if errors.As(err, &occupied) && m.f.wishes.Erase == "" && terminalIn(m.in) && !m.f.yes && !m.f.dryRun {
		m.show.close()
		fmt.Fprintf(m.err, "\n%v\n", err)
		typed, e := m.askLine(fmt.Sprintf("Type its serial number, %s, to lose all of it: ", occupied.Disk.ID()))
		if e != nil {
			return e
		}
		if typed == "" {
			return err
		}
		m.f.wishes.Erase = typed
		m.plan, err = maker.NewPlan(m.master, m.target, m.f.wishes)
	}
	if err != nil {
		return err
	}
	m.showPlan()
	if m.f.dryRun {
		return nil
	}
	m.show.close()
	if err := m.confirmName("Type yes to go on: ", "yes", m.f.yes, "masthead master-maker "+m.f.wishes.Host+" … --yes"); err != nil {
		return err
	}
	m.planned = true
	m.journal.Name, m.journal.Address = m.plan.Name, m.plan.Address.String()
	return nil
}

// install fills the disk. The disk's own journal knows how far it is: broken off, it goes on there.
func (m *making) install(ctx context.Context) error {
	if m.plan.Installed || m.joined {
		m.show.say("install", "an earlier run has done it")
		return nil
	}
	m.journal.Disk = m.plan.Disk.ID() // from here on nothing is left on it that somebody could miss
	if err := m.journal.Write(m.dir); err != nil {
		return err
	}
	answers, err := yaml.Marshal(m.plan.Answers)
	if err != nil {
		return err
	}
	return m.order(ctx, "install", makerOrder{Head: m.self.url, Answers: string(answers)}, func(line []byte) {
		var e maker.Event
		if json.Unmarshal(line, &e) == nil {
			m.show.progress("install", e.Step, e.Done, e.Total)
		}
	})
}

// identity leaves on the disk what the machine's first start needs.
func (m *making) identity(ctx context.Context) error {
	if m.joined {
		return nil
	}
	token, err := m.c.HeadToken(ctx)
	if err != nil {
		return err
	}
	parsed, err := pki.ParseJoinToken(token.Token)
	if err != nil {
		return err
	}
	m.token = parsed.ID()
	return m.order(ctx, "identity", makerSelf{
		Disk: m.plan.Disk.Path, Image: m.master.Source.Image, Join: m.master.Address.Addr().String(), Token: token.Token, Keys: m.keys,
	}, nil)
}

// forgetToken takes back the token, which then opens nothing.
func (m *making) forgetToken(ctx context.Context) error {
	if m.token == "" {
		return nil
	}
	return m.c.ForgetHeadToken(ctx, m.token)
}

// Times of the join.
const (
	joinLook = time.Second
	joinTime = 20 * time.Minute // the firmware of a large server, twice
)

// join restarts the machine, and waits for the head that it has become.
func (m *making) join(ctx context.Context) error {
	name := m.journal.Name
	if !slices.Contains(m.headNames(ctx), name) {
		// It boots from its own disk now, also where its firmware asks the network first.
		if _, err := m.c.ChangeNode(ctx, name, wire.NodeChange{Attrs: map[string]string{roleAttr: string(images.RoleHead)}}); err != nil {
			return err
		}
		if err := m.restart(ctx, ""); err != nil {
			// The end of the command may have been lost with the machine. One that still obeys has not restarted.
			if _, e := m.probe(ctx); e == nil {
				return fmt.Errorf("restart it: %w", err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	began, reason := time.Now(), "it has not started from its disk yet, or does not reach this head"
	for {
		heads, err := m.c.Heads(ctx)
		if i := slices.IndexFunc(heads, func(h wire.HeadStatus) bool { return h.Name == name }); err == nil && i >= 0 {
			h := heads[i]
			if h.Alive && h.Equal {
				return nil
			}
			if reason = "it has joined, and fetches the state"; h.Reason != "" {
				reason += ": " + h.Reason
			}
		}
		m.show.waiting("join", reason, time.Since(began))
		select {
		case <-ctx.Done():
			return &hint{fmt.Errorf("%s has not joined: %s", name, reason),
				"look at its console; it must start from its disk (boot order). On it, masthead head list says what it waits for"}
		case <-time.After(joinLook):
		}
	}
}
