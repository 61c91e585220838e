package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// Times within which the state of all heads must be the same (failover.md, I6). An emulated processor has more: see equal.
const (
	afterWrite = 2 * time.Second
	afterHeal  = 5 * time.Second
)

// headDisk is a head's disk for its state, with room for a worker's image that it fetches from another head.
const headDisk = 256 << 20

// several is a cluster of several heads through the steps of a test, each of which finds it as the one before left it.
type several struct {
	*trial
	clients map[string]*wire.Client
	worker  built
}

func minimalHead(t *testing.T) vmtest.MachineConfig {
	return vmtest.MachineConfig{Role: string(images.RoleHead), Memory: 384, ISO: iso(t, definition(t, "head-minimal")),
		Disks: []vmtest.DiskConfig{{Size: headDisk, Label: images.StateLabel}}, Forward: map[string]int{HTTPS: 443, plainHTTP: 80}}
}

func minimalWorker(memory int, firmware qemu.Firmware) vmtest.MachineConfig {
	return vmtest.MachineConfig{Role: string(images.RoleWorker), Memory: memory, Firmware: firmware, Boot: vmtest.Boot{qemu.FromNetwork}}
}

// startSeveral boots the first head and lets the others join it.
func (turn *turn) startSeveral(t *testing.T, config vmtest.Config) *several {
	t.Helper()
	s := &several{worker: readImage(t, "worker-minimal"), clients: map[string]*wire.Client{}}
	s.trial = turn.start(t, config)
	s.awaitHead(t, "head1")
	s.clients["head1"] = s.head
	for _, name := range s.Named(images.RoleHead)[1:] {
		began := time.Now()
		if stick := bootStick(s.Machine(name).Config); stick != "" {
			s.joinByStick(t, name, stick)
		} else {
			s.join(t, s.head, name)
		}
		t.Logf("%s was a head of the cluster %.1f s after power-on", name, time.Since(began).Seconds())
		s.reconnect(t, name)
	}
	return s
}

// join lets a head join through another one.
func (s *several) join(t *testing.T, through *wire.Client, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	if err := s.Join(ctx, through, name); err != nil {
		t.Fatalf("%v\n%s", err, s.Report(t.Context()))
	}
}

// reconnect makes a client of a head that has started, and waits until its API answers.
func (s *several) reconnect(t *testing.T, name string) *wire.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	client, ca, err := s.Cluster.Head(ctx, name)
	must(t, err)
	if ca != s.ca {
		t.Fatalf("%s shows the CA %s, the cluster has %s", name, ca, s.ca)
	}
	s.clients[name] = client
	return client
}

// at runs a masthead command against one of the heads.
func (s *several) at(t *testing.T, head string, args ...string) (string, error) {
	t.Helper()
	return masthead(t, append([]string{"--head", s.clients[head].Base, "--ca", string(s.ca), "--token-file", s.token}, args...)...)
}

func (s *several) mustAt(t *testing.T, head string, args ...string) string {
	t.Helper()
	out, err := s.at(t, head, args...)
	if err != nil {
		t.Fatalf("on %s: masthead %s: %v\n%s", head, strings.Join(args, " "), err, out)
	}
	return out
}

// equalSlack is what heads whose processors are emulated have beyond that: one that has just started compares beside all else
// that starts. The log says how long they took.
const equalSlack = 40 * time.Second

// equal waits until all heads hold the same bytes, as `state verify` proves.
func (s *several) equal(t *testing.T, head string, within time.Duration) {
	t.Helper()
	began, bound := time.Now(), within
	if Emulated() {
		bound += equalSlack
	}
	for {
		asked := time.Now()
		out, err := s.at(t, head, "state", "verify")
		if err == nil {
			t.Logf("the same state on all heads, seen %.2f s later (goal %v):\n%s", time.Since(began).Seconds(), within, out)
			return
		}
		// What was found when the question was asked counts, not how long this busy host takes to start a program.
		if asked.Sub(began) > bound {
			t.Fatalf("not the same state on all heads after %v: %v\n%s", asked.Sub(began), err, out)
		}
	}
}

// upOn waits until a node is up as one head sees it, and gives what that head says of it.
func (s *several) upOn(t *testing.T, head, node, boot string) wire.Why {
	t.Helper()
	t2 := *s.trial
	t2.head = s.clients[head]
	return t2.awaitUp(t, node, node, boot)
}

// servedBy waits until a node's parent is a head, as another one sees it.
func (s *several) servedBy(t *testing.T, seenBy, node, parent string) {
	t.Helper()
	eventually(t, replyTime, node+" is served by "+parent, func(ctx context.Context) error {
		n, err := s.clients[seenBy].Node(ctx, node)
		if err == nil && (n.Head != parent || n.Phase != wire.PhaseUp) {
			err = fmt.Errorf("%s is %s, served by %q", node, n.Phase, n.Head)
		}
		return err
	})
}

// add makes a node known through one head.
func (s *several) add(t *testing.T, head, name string, n int) {
	t.Helper()
	s.mustAt(t, head, "node", "add", name, "--mac", fmt.Sprintf("52:54:00:f1:%02x:%02x", n>>8, n&255))
}

func (s *several) has(t *testing.T, head, node string) bool {
	t.Helper()
	_, err := s.clients[head].Node(t.Context(), node)
	var p *wire.ProblemError
	if err != nil && (!errors.As(err, &p) || p.Status != 404) {
		t.Fatalf("%s: node %s: %v", head, node, err)
	}
	return err == nil
}

// TestVMHeads takes two heads and two workers through the death and the return of either head, a partition, and all
// that an administrator does with heads.
func TestVMHeads(t *testing.T) {
	turn := awaitTurn(t, timed, 4)
	s := turn.startSeveral(t, vmtest.Config{
		Name: "heads", Capture: true,
		Machines: map[string]vmtest.MachineConfig{
			"head1": minimalHead(t), "head2": minimalHead(t),
			// With so little memory n01 cannot keep its whole root, so its reads depend on a head.
			"n01": minimalWorker(256, qemu.BIOS), "n02": minimalWorker(320, qemu.BIOS),
		},
	})
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"one state", s.oneState},
		{"a head dies while workers boot", s.deathDuringBoots},
		{"alone", s.alone},
		{"the dead head returns", s.deadReturns},
		{"commands", s.commands},
		{"rolling restart", s.rollingRestart},
		{"a damaged state file", s.damagedState},
		{"partition", s.partition},
		{"eject and join again", s.ejectAndRejoin},
		{"leave", s.leave},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow() // the next steps would only find what this one left
		}
	}
}

func (s *several) oneState(t *testing.T) {
	s.equal(t, "head1", afterWrite)
	out := s.mustAt(t, "head2", "head", "list")
	if !contains(out, "head1", "head2", "10.77.0.1", "10.77.0.2") {
		t.Errorf("head list on head2:\n%s", out)
	}
	s.add(t, "head2", "a01", 1)
	s.equal(t, "head1", afterWrite)
	if !s.has(t, "head1", "a01") {
		t.Error("a01, added on head2, is not known to head1")
	}
	s.mustAt(t, "head1", "node", "rm", "a01")
	s.equal(t, "head2", afterWrite)
	if s.has(t, "head2", "a01") {
		t.Error("a01, removed on head1, is still known to head2")
	}
	// An ordinary file is the same on all heads, at once and with its mode.
	s.mustSh(t, "head1", "echo 'shared by all' > /etc/shared.conf; chmod 640 /etc/shared.conf; masthead file add /etc/shared.conf")
	eventually(t, replyTime, "head2 has the file", func(context.Context) error {
		out, status := s.sh(t, "head2", "cat /etc/shared.conf; ls -l /etc/shared.conf")
		if status != "0" || !contains(out, "shared by all", "-rw-r-----") {
			return errors.New(out)
		}
		return nil
	})
	// Every head has the images, without being told.
	eventually(t, replyTime, "head2 has the worker's image", func(ctx context.Context) error {
		list, err := s.clients["head2"].Images(ctx)
		if err != nil {
			return err
		}
		for _, i := range list {
			if i.Digest == s.worker.digest {
				return nil
			}
		}
		return fmt.Errorf("%+v", list)
	})
}

// deathDuringBoots cuts the power of the head that boots the workers, while they boot.
func (s *several) deathDuringBoots(t *testing.T) {
	must(t, s.Register(t.Context(), s.head, "n01", wire.NodeChange{}))
	must(t, s.Register(t.Context(), s.head, "n02", wire.NodeChange{}))
	// Both have their kernels' attention: one of them from either head.
	eventually(t, bootTime, "n01 fetches its kernel", func(ctx context.Context) error {
		why, err := s.clients["head2"].Why(ctx, "n01")
		if err == nil && len(why.Stages) < 3 {
			err = errors.New(why.Verdict)
		}
		return err
	})
	must(t, s.PowerCut("head1"))
	for _, n := range []string{"n01", "n02"} {
		why := s.upOn(t, "head2", n, "")
		t.Logf("%s came up %.1f s after its kernel started", n, why.Node.BootedIn)
		s.servedBy(t, "head2", n, "head2")
	}
	if out := s.mustSh(t, "n01", "sha256sum /dev/nbd0"); !strings.Contains(out, s.worker.root) {
		t.Errorf("n01 read its root as\n%swant %s", out, s.worker.root)
	}
	if out := s.mustSh(t, "n01", "grep parent-head-node /etc/hosts"); !strings.Contains(out, "10.77.0.2") {
		t.Errorf("n01 has as parent: %s", out)
	}
}

// alone: with its peer dead a head takes changes, and says what that means.
func (s *several) alone(t *testing.T) {
	out := s.mustAt(t, "head2", "node", "add", "d01", "--mac", "52:54:00:f1:0d:01")
	if !strings.Contains(out, "degraded") {
		t.Errorf("a change that only head2 has is acknowledged as\n%s", out)
	}
	s.add(t, "head2", "d02", 2)
	s.mustAt(t, "head2", "node", "rm", "d02")
	if out := s.mustAt(t, "head2", "status"); !contains(out, "degraded", "head1") {
		t.Errorf("status with head1 dead:\n%s", out)
	}
}

func (s *several) deadReturns(t *testing.T) {
	must(t, s.PowerOn(t.Context(), "head1"))
	s.reconnect(t, "head1")
	s.equal(t, "head2", afterHeal)
	if !s.has(t, "head1", "d01") || s.has(t, "head1", "d02") {
		t.Errorf("head1 is back: d01 (added meanwhile) %t, d02 (removed meanwhile) %t", s.has(t, "head1", "d01"), s.has(t, "head1", "d02"))
	}
	// Nobody goes back by himself.
	s.servedBy(t, "head1", "n01", "head2")
	s.mustAt(t, "head1", "node", "set", "n01", "--heads", "head1")
	s.mustAt(t, "head2", "node", "script", "n01", "fetch-hosts")
	s.servedBy(t, "head2", "n01", "head1")
}

// commands go through the head that serves the node, whichever is asked.
func (s *several) commands(t *testing.T) {
	for _, head := range []string{"head1", "head2"} {
		out := s.mustAt(t, head, "node", "exec", "n[01-02]", "--", "hostname")
		if !contains(out, "n01", "n02") {
			t.Errorf("hostname through %s:\n%s", head, out)
		}
	}
	out, err := s.at(t, "head2", "node", "exec", "n01,d01", "--", "echo", "same")
	if err == nil || !contains(out, "same", "d01") {
		t.Errorf("a command for one node that is up and one that is not: %v\n%s", err, out)
	}
}

// rollingRestart ends the heads' daemons one after the other, while a worker reads its root all the time.
func (s *several) rollingRestart(t *testing.T) {
	s.enter(t, "n02", "i=0; while [ $i -lt 6 ]; do echo 3 > /proc/sys/vm/drop_caches; sha256sum /dev/nbd0; i=$((i+1)); done; echo all\"read\"")
	for _, head := range []string{"head1", "head2"} {
		before, err := s.clients[head].Status(t.Context())
		must(t, err)
		s.mustSh(t, head, `ps | grep 'masthead head ru[n]' | while read pid rest; do kill $pid; done`)
		eventually(t, replyTime, head+"'s daemon is back", func(ctx context.Context) error {
			now, err := s.clients[head].Status(ctx)
			if err == nil && now.Started.Equal(before.Started) {
				err = errors.New("it still runs")
			}
			return err
		})
		s.equal(t, head, afterHeal)
	}
	read := s.expect(t, "n02", replyTime, `(?s)^(.*)allread`)[1]
	if got := strings.Count(read, s.worker.root); got != 6 {
		t.Errorf("n02 read its root right %d times of 6:\n%s", got, read)
	}
}

// damagedState spoils the state file of head2: it is found, kept, and rebuilt from head1.
func (s *several) damagedState(t *testing.T) {
	s.mustSh(t, "head2", `ps | grep 'masthead head ru[n]' | while read pid rest; do kill -9 $pid; done; `+
		`echo damaged > `+images.StateDir+`/state/state.db`)
	began := time.Now()
	eventually(t, replyTime, "head2 is whole again", func(ctx context.Context) error {
		_, err := s.clients["head2"].Status(ctx)
		return err
	})
	s.equal(t, "head2", afterHeal)
	t.Logf("the state of head2 was whole again after %.1f s", time.Since(began).Seconds())
	if out := s.mustSh(t, "head2", "ls "+images.StateDir+"/state"); !strings.Contains(out, "state.db.old.00") {
		t.Errorf("the damaged file was not kept:\n%s", out)
	}
}

// partition cuts the network between the heads: both go on, and nothing is given away twice.
func (s *several) partition(t *testing.T) {
	must(t, s.CutLink("head2", 0, vmtest.Both))
	s.mustAt(t, "head1", "node", "set", "d01", "--attr", "rack=1")
	s.mustAt(t, "head2", "node", "set", "d01", "--attr", "rack=2")
	s.add(t, "head1", "p01", 0x11)
	s.add(t, "head2", "p02", 0x12)
	// An address that is reserved on both sides: one of them must refuse, or both.
	given := 0
	for head, node := range map[string]string{"head1": "p01", "head2": "p02"} {
		if out, err := s.at(t, head, "node", "set", node, "--address", "10.77.0.50"); err == nil {
			given++
		} else if !contains(out, "10.77.0.50", "try: ") {
			t.Errorf("%s refuses an address with\n%s", head, out)
		}
	}
	if given > 1 {
		t.Error("10.77.0.50 was given twice")
	}
	must(t, s.HealLink("head2", 0))
	s.equal(t, "head1", afterHeal+2*time.Second) // and the second in which it is noticed on either side
	for _, head := range []string{"head1", "head2"} {
		if !s.has(t, head, "p01") || !s.has(t, head, "p02") {
			t.Errorf("%s lacks a node that was added during the partition", head)
		}
	}
	if out := s.mustAt(t, "head2", "audit", "-o", "json"); !contains(out, `"1"`, `"2"`, "d01") {
		t.Errorf("the audit log does not have both values of rack:\n%s", out)
	}
}

// ejectAndRejoin takes a dead head out, which must not count when it comes back, and lets it join again.
func (s *several) ejectAndRejoin(t *testing.T) {
	if out, err := s.at(t, "head1", "head", "eject", "head2", "--yes"); err == nil {
		t.Errorf("a head that lives was ejected:\n%s", out)
	}
	must(t, s.PowerCut("head2"))
	s.add(t, "head1", "e01", 0x21)
	eventually(t, replyTime, "head2 is ejected", func(context.Context) error {
		out, err := s.at(t, "head1", "head", "eject", "head2", "--yes")
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return err
	})
	s.upOn(t, "head1", "n01", "")
	s.servedBy(t, "head1", "n02", "head1")
	must(t, s.PowerOn(t.Context(), "head2"))
	s.expect(t, "head2", bootTime, `(?i)ejected`)
	if out := s.mustAt(t, "head1", "head", "list"); strings.Contains(out, "head2") {
		t.Errorf("head2 came back by itself:\n%s", out)
	}
	must(t, s.PowerCut("head2"))
	s.join(t, s.clients["head1"], "head2")
	s.reconnect(t, "head2")
	s.equal(t, "head2", afterHeal)
	if !s.has(t, "head2", "e01") {
		t.Error("head2 joined again and does not know e01")
	}
}

func (s *several) leave(t *testing.T) {
	// A head that has just joined decides first what it does about DHCP.
	eventually(t, replyTime, "head2 serves", func(ctx context.Context) error {
		status, err := s.clients["head2"].Status(ctx)
		if err == nil && !strings.HasPrefix(status.DHCP, "server") {
			err = errors.New(status.DHCP)
		}
		return err
	})
	s.mustAt(t, "head1", "head", "leave", "--yes")
	if out := s.mustAt(t, "head2", "head", "list"); strings.Contains(out, "head1") {
		t.Errorf("head1 has left:\n%s", out)
	}
	s.servedBy(t, "head2", "n01", "head2")
	out := s.mustAt(t, "head2", "node", "add", "l01", "--mac", "52:54:00:f1:00:31")
	if strings.Contains(out, "degraded") {
		t.Errorf("a cluster of one head is never degraded:\n%s", out)
	}
}
