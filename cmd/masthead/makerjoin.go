package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/maker"
	"masthead/images"
	"masthead/node/serial"
	"masthead/node/wire"
)

// pairSteps are what makes a head that has joined a standby: another way to be heard, and a copy of the data.
func (m *making) pairSteps() []maker.Step {
	return []maker.Step{
		{Name: "heartbeat", What: "looks for a serial cable between the two heads", Do: m.heartbeat},
		{Name: "data", What: "waits until its copies of the replicated volumes are up to date", Do: m.data},
	}
}

// heartbeat puts a serial cable that connects the two into the configuration. Without one the network alone is used.
func (m *making) heartbeat(ctx context.Context) error {
	if m.f.noSerial {
		m.show.say("heartbeat", "not looked for, as asked: the heads hear each other by the network")
		return nil
	}
	name := m.journal.Name
	now, err := m.c.Cluster(ctx)
	if err != nil {
		return err
	}
	doc, err := configuration.Parse("the cluster's configuration", []byte(now.Text))
	if err != nil {
		return err
	}
	if len(doc.Heads[name].Serial) > 0 && len(doc.Heads[m.master.Name].Serial) > 0 {
		m.show.say("heartbeat", "the configuration names a serial cable already")
		return nil
	}
	if err := m.awaitAgent(ctx); err != nil {
		return err
	}
	cables, notes, err := m.findCables(ctx, m.c, name, serialFlags{time: serialTime, baud: serial.DefaultBaud})
	if err != nil {
		// No cable is no failure: the heads hear each other by the network.
		m.notes = append(m.notes, "no serial cable: "+err.Error())
		return nil
	}
	m.notes = append(m.notes, notes...)
	for _, c := range cables {
		if !c.good() {
			m.notes = append(m.notes, c.text())
			continue
		}
		text, err := configuration.WithCable(now.Text, map[string]string{m.master.Name: c.Port, name: c.There}, len(m.master.Heads) > 1)
		if err != nil {
			return err
		}
		changed, err := m.c.SetCluster(ctx, wire.ClusterChange{Text: text, Version: now.Version})
		if err != nil {
			return err
		}
		m.notes = append(m.notes, "serial heartbeat: "+c.text())
		m.notes = append(m.notes, changed.Warning...)
		return nil
	}
	if len(cables) == 0 {
		m.notes = append(m.notes, "no serial cable was found between the heads; connect one, then: masthead serial test")
	}
	return nil
}

// agentTime is for the agent of a head that has just joined: it looks for its head anew.
const agentTime = 3 * time.Minute

// awaitAgent waits until the new head can be told to do something.
func (m *making) awaitAgent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	for {
		_, err := onHead(ctx, m.c, m.journal.Name, wire.Command{Kind: wire.CommandExec, Argv: []string{images.RunBinary, "serial", "list"}, Timeout: probeTime.Seconds()}, nil)
		if err == nil {
			return nil
		}
		m.show.say("heartbeat", "waits until the new head's agent answers")
		select {
		case <-ctx.Done():
			return &hint{fmt.Errorf("%s has joined, and its agent does not answer after %v: %w", m.journal.Name, agentTime, err), "masthead node why " + m.journal.Name}
		case <-time.After(joinLook):
		}
	}
}

// data waits for the copies. It takes as long as it takes; who does not want to look on presses Ctrl-C.
func (m *making) data(ctx context.Context) error {
	now, err := m.c.Cluster(ctx)
	if err != nil {
		return err
	}
	doc, err := configuration.Parse("the cluster's configuration", []byte(now.Text))
	if err != nil {
		return err
	}
	if len(doc.Data) == 0 {
		m.show.say("data", "the cluster has no replicated volume")
		return nil
	}
	began, heard := time.Now(), time.Now()
	for {
		all, err := m.c.Data(ctx)
		switch {
		case err == nil && copied(all, m.journal.Name, len(doc.Data)):
			return nil
		case err == nil:
			heard = time.Now()
			m.showCopies(all, time.Since(began))
		case time.Since(heard) > dataLost:
			return err
		}
		select {
		case <-ctx.Done():
			return &hint{errors.New("stopped looking on; the copies go on by themselves"), "masthead data status -w"}
		case <-time.After(dataLook):
		}
	}
}

// copied: the head has a copy of each of so many volumes, and all copies are up to date. Pure.
func copied(all []wire.DataVolume, head string, volumes int) bool {
	n := 0
	for _, v := range all {
		if v.Head == head {
			n++
		}
	}
	return n >= volumes && settled(all)
}

// showCopies tells how far the copies are.
func (m *making) showCopies(all []wire.DataVolume, since time.Duration) {
	var words []string
	for _, v := range all {
		if v.Head != m.journal.Name {
			continue
		}
		if v.Size > 0 && v.Replication != "" && v.Replication != "Established" && v.Replication != "Off" {
			m.show.copies(v)
			return
		}
		text := v.Name + ": " + v.State
		for _, remark := range remarks(v) {
			text += "; " + remark
		}
		words = append(words, text)
	}
	if len(words) == 0 {
		words = []string{fmt.Sprintf("%s has no copy yet", m.journal.Name)}
	}
	m.show.waiting("data", strings.Join(words, ", "), since)
}
