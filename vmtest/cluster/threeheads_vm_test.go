package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// TestVMThreeHeads takes three heads and a worker through joining and leaving with one machine off, and through the loss
// of all heads but one. TestVMHeads has two heads, and the tests of appliance have three on this host.
func TestVMThreeHeads(t *testing.T) {
	long(t)
	turn := awaitTurn(t, timed, 4)
	s := turn.startSeveral(t, vmtest.Config{
		Name: "three",
		Machines: map[string]vmtest.MachineConfig{
			"head1": minimalHead(t), "head2": minimalHead(t), "head3": headOnStick(t),
			"n01": minimalWorker(320, qemu.BIOS), // shim and GRUB, which UEFI gets at first, take minutes beside three heads
		},
	})
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the founder dies while a worker boots", s.founderDies},
		{"leave and join with one head off", s.changeWithOneOff},
		{"the founder returns", s.founderReturns},
		{"recover", s.recover},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow() // the next steps would only find what this one left
		}
	}
}

func (s *several) founderDies(t *testing.T) {
	s.equal(t, "head2", afterWrite)
	must(t, s.Register(t.Context(), s.head, "n01", wire.NodeChange{}))
	eventually(t, bootTime, "n01 has an address", func(ctx context.Context) error {
		why, err := s.clients["head3"].Why(ctx, "n01")
		if err == nil && len(why.Events) == 0 {
			err = errors.New(why.Verdict)
		}
		return err
	})
	must(t, s.PowerCut("head1"))
	s.upOn(t, "head3", "n01", "")
	eventually(t, replyTime, "head2 knows that head1 is dead", func(context.Context) error {
		out, err := s.at(t, "head2", "node", "add", "t01", "--mac", "52:54:00:f2:00:01")
		if err == nil && strings.Contains(out, "degraded") {
			err = errors.New(out)
		}
		return err
	})
	if !s.has(t, "head3", "t01") {
		t.Error("t01, acknowledged by head2, is not known to head3")
	}
}

// changeWithOneOff lets head3 leave and join again while head1 is off.
func (s *several) changeWithOneOff(t *testing.T) {
	s.mustAt(t, "head3", "head", "leave", "--yes")
	eventually(t, replyTime, "head2 lists head3 no more", func(context.Context) error {
		if out := s.mustAt(t, "head2", "head", "list"); strings.Contains(out, "head3") {
			return errors.New(out)
		}
		return nil
	})
	s.servedBy(t, "head2", "n01", "head2")
	must(t, s.PowerCut("head3"))
	s.joinByStick(t, "head3", bootStick(s.Machine("head3").Config))
	s.reconnect(t, "head3")
	s.mustAt(t, "head3", "node", "set", "t01", "--attr", "rack=7")
}

func (s *several) founderReturns(t *testing.T) {
	must(t, s.PowerOn(t.Context(), "head1"))
	s.reconnect(t, "head1")
	s.equal(t, "head1", afterHeal)
	n, err := s.clients["head1"].Node(t.Context(), "t01")
	if err != nil || n.Attrs["rack"] != "7" {
		t.Errorf("t01 on head1: %+v, %v", n, err)
	}
	if out := s.mustAt(t, "head1", "head", "list"); !contains(out, "head1", "head2", "head3") {
		t.Errorf("head list on head1:\n%s", out)
	}
}

// recover makes head1 the only head after both others are gone, and lets none of them come back by itself.
func (s *several) recover(t *testing.T) {
	must(t, s.PowerCut("head2"))
	must(t, s.PowerCut("head3"))
	eventually(t, replyTime, "head1 says that it is alone", func(ctx context.Context) error {
		status, err := s.clients["head1"].Status(ctx)
		if err == nil && status.Degraded == "" {
			err = errors.New("not degraded")
		}
		return err
	})
	s.mustAt(t, "head1", "head", "recover", "--yes")
	out := s.mustAt(t, "head1", "node", "set", "t01", "--attr", "rack=8")
	if strings.Contains(out, "degraded") {
		t.Errorf("the only head of its cluster says\n%s", out)
	}
	s.servedBy(t, "head1", "n01", "head1")
	must(t, s.PowerOn(t.Context(), "head2"))
	s.expect(t, "head2", bootTime, `(?i)by a recovery`)
	eventually(t, replyTime, "head2 serves nothing", func(ctx context.Context) error {
		client, _, err := s.Cluster.Head(ctx, "head2")
		if err == nil {
			client.Close()
			return errors.New("its API answers")
		}
		var p *wire.ProblemError
		if errors.As(err, &p) {
			return nil
		}
		return fmt.Errorf("no answer: %w", err)
	})
	for _, head := range []string{"head1", "head2", "head3"} {
		s.keepsSecrets(t, head)
	}
}
