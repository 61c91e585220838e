package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"masthead/vmtest/arena/heads"
)

// mastheads are two heads, with or without witnesses.
type mastheads struct {
	*heads.Cluster
	power string // folder of the power states of fencing; empty: none
}

func openMasthead(c heads.Config) (contender, error) {
	r, err := heads.New(c)
	if err != nil {
		return nil, err
	}
	return &mastheads{Cluster: r}, nil
}

// fenceAgent switches a head of the arena off, as a management controller would that answers at once: its cable is out of
// the switch, and all that ran on it is dead.
const fenceAgent = `#!/bin/sh
while IFS='=' read -r k v; do
	case $k in
	action | option) action=$v ;;
	plug) plug=$v ;;
	esac
done
. "${0%/*}/arena"
case $action in
metadata)
	echo '<?xml version="1.0" ?><resource-agent name="fence_arena"><parameters><parameter name="plug" required="1"><content type="string"/></parameter><parameter name="action"><content type="string" default="off"/></parameter></parameters><actions><action name="off"/><action name="status"/><action name="monitor"/><action name="metadata"/></actions></resource-agent>'
	;;
off)
	: >"$power/$plug.begun"
	ip -n "$switch" link set "p-$plug" nomaster
	read -r pid <"$power/$plug.pid" && read -r what <"/proc/$pid/comm" && [ "$what" = "$program" ] && kill -9 "$pid"
	echo off >"$power/$plug"
	;;
status | monitor)
	read -r state <"$power/$plug"
	[ "$state" = off ] && exit 2
	;;
esac
exit 0
`

// openFencing is a pair of which each head can switch the other off.
func openFencing(bin, dir string) (contender, error) {
	agent, power := filepath.Join(dir, "fence_arena"), filepath.Join(dir, "power")
	c := heads.Config{Program: bin, Dir: dir, Heads: 2, Head: map[string]string{}, Document: "fence_devices:\n"}
	for _, head := range []string{head1, head2} {
		c.Document += fmt.Sprintf("  - {name: of-%s, agent: %s, params: {plug: %s}}\n", head, agent, head)
		c.Head[head] = fmt.Sprintf("fence: [[{device: of-%s}]]", head)
	}
	if err := os.Mkdir(power, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(agent, []byte(fenceAgent), 0o755); err != nil {
		return nil, err
	}
	r, err := heads.New(c)
	if err != nil {
		return nil, err
	}
	program := filepath.Base(bin)
	vars := fmt.Sprintf("switch=%s power=%s program='%s'\n", r.SwitchNS(), power, program[:min(15, len(program))]) // TASK_COMM_LEN
	if err := os.WriteFile(filepath.Join(dir, "arena"), []byte(vars), 0o644); err != nil {
		return nil, err
	}
	return &mastheads{Cluster: r, power: power}, nil
}

func (m *mastheads) log(head string) string { return m.Log(head) }

func (m *mastheads) start(head string) error { return errors.Join(m.Restart(head), m.on(head)) }
func (m *mastheads) boot(head string) error  { return errors.Join(m.Boot(head), m.on(head)) }

// on has the fence agent know that a head is on, and what runs there.
func (m *mastheads) on(head string) error {
	if m.power == "" {
		return nil
	}
	at := filepath.Join(m.power, head)
	if err := os.Remove(at + ".begun"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(os.WriteFile(at+".pid", fmt.Appendf(nil, "%d\n", m.Process(head)), 0o644), os.WriteFile(at, []byte("on\n"), 0o644))
}

// repair: nothing is left behind but by fencing, which switches off, or was called off when it had begun to.
func (m *mastheads) repair(head string) (started bool, err error) {
	if m.power == "" {
		return false, nil
	}
	if _, err := os.Stat(filepath.Join(m.power, head+".begun")); errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := m.PowerCut(head); err != nil {
		return false, err
	}
	if err := m.Machine(head).PowerOn(); err != nil {
		return false, err
	}
	return true, m.boot(head)
}

func (m *mastheads) move(from, to string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := m.Switch(ctx, from, to)
	return err
}

func (m *mastheads) ready(owner, other string) error {
	for head, want := range map[string]string{owner: "active", other: "standby"} {
		s, err := m.Status(head)
		if err != nil {
			return fmt.Errorf("%s: %w", head, err)
		}
		if s.Why.Phase != want || s.Owner != owner || !s.Quorate {
			return fmt.Errorf("%s: want %s of %s, it is %s of %q: %s", head, want, owner, s.Why.Phase, s.Owner, s.Why.Summary)
		}
		for _, other := range s.Members {
			if !other.Online {
				return fmt.Errorf("%s hears nothing of %s", head, other.Name)
			}
		}
	}
	return nil
}
