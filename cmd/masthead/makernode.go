package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"masthead/appliance/maker"
	"masthead/appliance/registry"
	"masthead/images"
	"masthead/node/wire"
)

// A machine without Linux, or one that runs without a disk already, is reached as a node: by booting from the network.

var byNetwork = way{"network", func(m *making) []maker.Step {
	return []maker.Step{
		{Name: "node", What: "has " + m.f.wishes.Host + " boot this head's image, without a disk", Do: m.makeClone, Undo: m.unmakeClone},
		{Name: "start", What: "waits for it; set it to boot from the network, and switch it on", Do: m.awaitClone},
		{Name: "check", What: "looks at its hardware", Do: m.check},
	}
}}

// nodeOf finds the node that is meant by its name or by the MAC address of one of its NICs. A MAC address that nobody knows
// is that of a node to be.
func (m *making) nodeOf(ctx context.Context, host string) (wire.Node, bool, error) {
	nodes, err := m.c.Nodes(ctx, "")
	if err != nil {
		return wire.Node{}, false, err
	}
	mac := ""
	if hw, err := net.ParseMAC(host); err == nil && len(hw) == 6 {
		mac = hw.String()
	}
	for _, n := range nodes {
		if n.Name == host || mac != "" && (n.MAC == mac || slices.Contains(n.Inventory.MACs, mac)) {
			return n, true, nil
		}
	}
	return wire.Node{MAC: mac}, mac != "", nil
}

// knowNode notes which machine is meant, and what it has of what a head needs.
func (m *making) knowNode(n wire.Node) error {
	w := &m.f.wishes
	if slices.Contains(m.master.Heads, n.Name) {
		if m.journal.Has("join") || n.Name == w.Name && w.Name != m.master.Name {
			return nil // an earlier run has come so far
		}
		return &hint{fmt.Errorf("%s is a head of this cluster", n.Name), "masthead head list"}
	}
	if w.Address == "" && n.Address.IsValid() {
		w.Address = n.Address.String()
	}
	if err := m.ask(); err != nil {
		return err
	}
	m.journal.MAC = n.MAC
	m.noteWas(n)
	address, err := maker.CheckNames(m.master, *w, m.journal.MAC)
	if err != nil {
		return err
	}
	m.journal.Name, m.journal.Address = w.Name, address.String()
	return nil
}

// noteWas keeps what the node's record is, unless an earlier run has changed it.
func (m *making) noteWas(n wire.Node) {
	if m.journal.Changed {
		return
	}
	m.journal.Was = nil
	if n.Name != "" {
		m.journal.Was = &n
	}
}

// makeClone writes the node's record: its name and address are those of the head to be.
func (m *making) makeClone(ctx context.Context) error {
	m.journal.Changed = true
	j := m.journal
	if err := j.Write(m.dir); err != nil { // what was there before, first
		return err
	}
	address, err := netip.ParsePrefix(j.Address)
	if err != nil {
		return err
	}
	text, yes, none := address.Addr().String(), true, ""
	change := wire.NodeChange{Name: &j.Name, Address: &text, Approved: &yes, Root: &none, Image: &none,
		Attrs: map[string]string{roleAttr: registry.RoleClone}}
	// A machine that is switched on at this very moment becomes a node by itself.
	for try := 0; ; try++ {
		err := m.putNode(ctx, change)
		var p *wire.ProblemError
		if !errors.As(err, &p) || p.Status != http.StatusConflict || try == 1 {
			return err
		}
	}
}

func (m *making) putNode(ctx context.Context, change wire.NodeChange) error {
	now, known, err := m.nodeOf(ctx, m.journal.MAC)
	if err != nil {
		return err
	}
	if known && now.Name != "" {
		_, err = m.c.ChangeNode(ctx, now.Name, change)
		return err
	}
	change.MAC = &m.journal.MAC
	_, err = m.c.AddNode(ctx, change)
	return err
}

// roleAttr is the attribute of a node that says what it is to the cluster.
const roleAttr = "role"

// unmakeClone makes the node's record what it was.
func (m *making) unmakeClone(ctx context.Context) error {
	now, known, err := m.nodeOf(ctx, m.journal.MAC)
	if err == nil && known && now.Name != "" && !slices.Contains(m.headNames(ctx), now.Name) {
		err = m.restoreNode(ctx, now.Name)
	}
	m.journal.Changed = err != nil
	return err
}

func (m *making) restoreNode(ctx context.Context, name string) error {
	was := m.journal.Was
	if was == nil {
		return m.c.RemoveNode(ctx, name)
	}
	address := ""
	if was.Address.IsValid() {
		address = was.Address.String()
	}
	_, err := m.c.ChangeNode(ctx, name, wire.NodeChange{Name: &was.Name, Address: &address, Approved: &was.Approved, Root: &was.Root,
		Image: &was.Image, Attrs: map[string]string{roleAttr: was.Attrs[roleAttr]}})
	return err
}

func (m *making) headNames(ctx context.Context) []string {
	heads, err := m.c.Heads(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, h := range heads {
		names = append(names, h.Name)
	}
	return names
}

// cloneLook is the time between two looks at a machine that starts.
const cloneLook = time.Second

// awaitClone waits until the machine runs this head's image and obeys. One that runs something else is restarted, once.
func (m *making) awaitClone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.f.wait)
	defer cancel()
	restarted, said := false, error(nil)
	for {
		if m.joined = slices.Contains(m.headNames(ctx), m.journal.Name); m.joined {
			return nil // by what an earlier run has left on its disk
		}
		n, err := m.c.Node(ctx, m.journal.Name)
		switch {
		case err != nil:
			said = err
		case n.Phase != wire.PhaseUp:
			m.show.say("start", cloneText(n))
			if n.Phase == wire.PhaseFailed {
				said = fmt.Errorf("its start failed at stage %s", n.Stage)
			}
		case n.Running == m.self.image:
			// What it says of itself is asked for only now: an agent that has just started is not connected yet.
			if m.target, said = m.probe(ctx); said == nil && m.target.Kernel == m.master.Source.Kernel {
				return nil
			}
			m.show.say("start", "it is up, and is asked what it is made of")
			if said == nil && !restarted { // it was waiting to be approved, with the kernel of another image
				restarted = true
				m.show.say("start", "restarts it with this head's kernel")
				said = m.restart(ctx, "--kexec")
			}
		case !restarted:
			restarted = true
			m.show.say("start", "restarts it with this head's image")
			said = m.restart(ctx, "--kexec")
		}
		select {
		case <-ctx.Done():
			if said == nil {
				said = ctx.Err()
			}
			return &hint{fmt.Errorf("%s does not run this head's image after %v: %w", m.f.wishes.Host, m.f.wait, said), "masthead node why " + m.journal.Name}
		case <-time.After(cloneLook):
		}
	}
}

// cloneText is how far a machine has come, for whoever waits.
func cloneText(n wire.Node) string {
	switch n.Phase {
	case wire.PhaseKnown, wire.PhaseDiscovered, wire.PhaseDown:
		return "waits for it to be switched on, and to boot from the network"
	}
	return strings.TrimSpace(fmt.Sprintf("it is %s, stage %s", n.Phase, n.Stage))
}

// restart has the machine start again. A machine whose kernel takes no other goes through its firmware.
func (m *making) restart(ctx context.Context, how string) error {
	line := images.RunBinary + " reboot " + how
	if how != "" {
		line += " || " + images.RunBinary + " reboot"
	}
	_, err := onHead(ctx, m.c, m.journal.Name, wire.Command{Kind: wire.CommandExec, Shell: line, Timeout: probeTime.Seconds()}, nil)
	return err
}

// probeTime is for a machine to look at its disks.
const probeTime = 30 * time.Second

// probe asks the machine's agent what it is made of.
func (m *making) probe(ctx context.Context) (maker.Target, error) {
	out, err := onHead(ctx, m.c, m.journal.Name, wire.Command{Kind: wire.CommandExec, Argv: []string{images.RunBinary, "maker", "probe"}, Timeout: probeTime.Seconds()}, nil)
	if err != nil {
		return maker.Target{}, err
	}
	return maker.ParseTarget([]byte(out))
}

// order has the machine do its part of something, with what it needs on standard input. line is called with each whole line
// that it prints.
func (m *making) order(ctx context.Context, what string, in any, line func([]byte)) error {
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return commandLines(ctx, m.c, m.journal.Name, wire.Command{
		Kind: wire.CommandExec, Argv: []string{images.RunBinary, "maker", what}, Timeout: wire.MaxCommandTimeout.Seconds(), Output: 1 << 30,
	}, bytes.NewReader(data), line)
}
