package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/ethernet"
	"masthead/vmtest/qemu"
)

// Stages that the head sees from outside, by how a machine boots.
var (
	byScript = []wire.Stage{wire.StageDHCP, wire.StageScript, wire.StageKernel, wire.StageInitramfs}
	byLoader = []wire.Stage{wire.StageDHCP, wire.StageTFTP, wire.StageScript, wire.StageKernel, wire.StageInitramfs}
)

// reserved is the address that n01 gets by reservation, outside of the pool.
const reserved = "10.77.0.11"

// life is a cluster through the steps of TestVMCluster, each of which finds it as the one before left it.
type life struct {
	*trial
	worker built
}

// TestVMCluster takes one head from its ISO and four workers, each of which boots in another way, through what a
// cluster meets. No more than three machines are on at a time.
func TestVMCluster(t *testing.T) {
	t.Parallel()
	program(t)
	l := &life{worker: readImage(t, "worker-minimal")}
	worker := func(memory int, firmware qemu.Firmware, source qemu.Source, plain bool) vmtest.MachineConfig {
		return vmtest.MachineConfig{Role: string(images.RoleWorker), Memory: memory, Firmware: firmware, Boot: vmtest.Boot{source},
			NICs: []vmtest.NICConfig{{PlainPXE: plain}}}
	}
	l.trial = start(t, 3, vmtest.Config{
		Name: "cluster", Capture: true,
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 384, ISO: iso(t, definition(t, "head-minimal")),
				Disks: []vmtest.DiskConfig{{Size: 128 << 20, Label: images.StateLabel}}, Forward: map[string]int{HTTPS: 443, plainHTTP: 80}},
			// With so little memory n01 cannot keep its whole root, so its reads depend on the head.
			"n01": worker(256, qemu.BIOS, qemu.FromNetwork, false),
			"n02": worker(320, qemu.BIOS, qemu.FromNetwork, true),
			"n03": worker(320, qemu.UEFI, qemu.FromNetwork, false),
			"n04": worker(320, qemu.UEFI, qemu.FromHTTP, false),
		},
	})
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"head by BIOS from CD", l.headUp},
		{"workers by BIOS, one unknown", l.firstWorkers},
		{"head's disk full", l.diskFull},
		{"head daemon killed", l.daemonKilled},
		{"head's power cut", l.headCut},
		{"power-off", l.powerOff}, // n01 restarts during the next
		{"kexec behind a wall", l.kexec},
		{"rescue shell", l.rescue}, // n01 fails to boot during the next two
		{"worker by UEFI PXE", l.pxeByUEFI},
		{"worker by UEFI HTTP", l.httpByUEFI},
		{"a boot that failed", l.failedBoot},
		{"a damaged chunk", l.damagedChunk},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow() // the next steps would only find what this one left
		}
	}
}

func (l *life) headUp(t *testing.T) {
	l.awaitHead(t, "head1")
	s, err := l.head.Status(t.Context())
	must(t, err)
	if s.Name != "head1" || s.CA != l.ca || s.ReadOnly != "" || !strings.HasPrefix(s.Address, "10.77.0.1/24 ") {
		t.Errorf("status: %+v", s)
	}
	i := slices.IndexFunc(s.Images, func(i wire.Image) bool { return i.Tag == l.worker.manifest.Name })
	if i < 0 || s.Images[i].Digest != l.worker.digest {
		t.Errorf("images: %+v, want worker-minimal %s", s.Images, l.worker.digest)
	}
	why := l.awaitUp(t, "head1", "head1", "")
	var stages []wire.Stage
	for _, s := range why.Stages {
		stages = append(stages, s.Stage)
	}
	want := []wire.Stage{wire.StageMounts, wire.StageModules, wire.StageMedium, wire.StageNetwork, wire.StageRoot, wire.StageHandover, wire.StageUp}
	if diff := cmp.Diff(want, stages); diff != "" {
		t.Errorf("stages of the head (-want +got):\n%s", diff)
	}
}

// firstWorkers boots one worker that was added beforehand and one that nobody knows, and troubles the head meanwhile.
func (l *life) firstWorkers(t *testing.T) {
	address := reserved
	must(t, l.Register(t.Context(), l.head, "n01", wire.NodeChange{Address: &address}))
	must(t, l.PowerOn(t.Context(), "n02"))

	l.refuseBadChanges(t)
	l.refuseTricks(t)
	l.outliveHostileDHCP(t)

	unknown := "x-" + strings.ReplaceAll(l.Machine("n02").MAC(0), ":", "")
	var found wire.Why
	eventually(t, bootTime, unknown+" waits for approval", func(ctx context.Context) (err error) {
		if found, err = l.head.Why(ctx, unknown); err == nil && found.Boot == "" {
			err = errors.New(found.Verdict)
		}
		return err
	})
	n := found.Node
	if n.Phase != wire.PhaseDiscovered || n.Approved || n.Inventory.MemoryMB < 250 || n.Inventory.UUID == "" || n.Inventory.Firmware != "bios" ||
		!slices.Contains(n.Inventory.MACs, l.Machine("n02").MAC(0)) {
		t.Errorf("the unknown machine is listed as %+v", n)
	}
	if found.Try != "masthead node approve "+unknown {
		t.Errorf("why of the unknown machine: %s; try: %s", found.Verdict, found.Try)
	}
	l.expect(t, "n02", replyTime, `waits for the administrator's approval.*node approve `+unknown)
	resets := l.resets("n02")
	l.cli(t, "node", "approve", unknown, "--name", "n02", "--root", "ram")

	why := l.awaitUp(t, "n02", "n02", "")
	if why.Boot != found.Boot || l.resets("n02") != resets {
		t.Errorf("n02 came up in boot %s after %d resets, waited in boot %s", why.Boot, l.resets("n02")-resets, found.Boot)
	}
	checkStages(t, why, byLoader...)
	checkOneAddress(t, why, netip.Addr{}, 3) // the ROM, the chained loader, Linux
	if name := strings.TrimSpace(l.mustSh(t, "n02", "hostname")); name != "n02" {
		t.Errorf("n02 calls itself %q", name)
	}

	why = l.awaitUp(t, "n01", "n01", "")
	checkStages(t, why, byScript...)
	checkOneAddress(t, why, netip.MustParseAddr(reserved), 2)
	if why.Node.Running != l.worker.digest {
		t.Errorf("n01 runs %s, want %s", why.Node.Running, l.worker.digest)
	}
	shown := l.cli(t, "node", "why", "n01")
	for _, s := range append(byScript, initStages...) {
		if !strings.Contains(shown, "\n  "+string(s)+" ") {
			t.Errorf("node why n01 does not show stage %s:\n%s", s, shown)
		}
	}
	l.refuseClone(t)
}

// resets counts how often a machine has begun anew since the lab is up.
func (l *life) resets(machine string) int {
	n := 0
	for _, e := range l.Machine(machine).Events.All() {
		if e.Name == "RESET" {
			n++
		}
	}
	return n
}

// memory is what a head must not forget.
type memory struct {
	CA    images.Digest
	Nodes map[string]remembered
}

type remembered struct {
	Node   wire.Node
	Boot   string
	Stages []wire.StageResult
}

func (l *life) memory(t *testing.T) memory {
	t.Helper()
	m := memory{CA: l.ca, Nodes: map[string]remembered{}}
	list, err := l.head.Nodes(t.Context(), "")
	must(t, err)
	for _, n := range list {
		if n.Name == "head1" {
			continue // its boots come and go with the machine
		}
		why, err := l.head.Why(t.Context(), n.Name)
		must(t, err)
		n.Seen, n.RootState = time.Time{}, nil
		m.Nodes[n.Name] = remembered{n, why.Boot, why.Stages}
	}
	return m
}

// remembers holds the head against what it knew before; phases are let settle by agents that report again.
func (l *life) remembers(t *testing.T, before memory) {
	t.Helper()
	var diff string
	eventually(t, replyTime, "the head knows what it knew", func(context.Context) error {
		// Wall times come by way of the machines' seconds and shift a little.
		diff = cmp.Diff(before, l.memory(t), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateApproxTime(2*time.Second))
		if diff != "" {
			return fmt.Errorf("(-before +after):\n%s", diff)
		}
		return nil
	})
}

// diskFull leaves the head no room for its state: it must say so, keep what it acknowledged, and go on once there is room.
func (l *life) diskFull(t *testing.T) {
	const fill, most = images.StateDir + "/fill", 500
	if out, status := l.sh(t, "head1", "cat /dev/zero > "+fill); status == "0" {
		t.Fatalf("filling the head's disk: status %s\n%s", status, out)
	}
	note := strings.Repeat("x", 1000)
	add := func(name string, n int) error {
		mac := fmt.Sprintf("52:54:00:f0:%02x:%02x", n>>8, n&255)
		_, err := l.head.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Attrs: map[string]string{"note": note}})
		return err
	}
	var kept []string
	var err error
	for n := 0; n < most && err == nil; n++ { // what is free inside of the state's file goes first
		name := fmt.Sprintf("full%03d", n)
		if err = add(name, n); err == nil {
			kept = append(kept, name)
		}
	}
	var p *wire.ProblemError
	if !errors.As(err, &p) || p.Status != http.StatusInsufficientStorage || p.Try() == "" {
		t.Errorf("a change on a full disk, after %d: %v, want status 507 and what to try", len(kept), err)
	}
	t.Logf("on a full disk: %v", err)
	s, err := l.head.Status(t.Context())
	if err != nil || s.ReadOnly == "" {
		t.Errorf("status on a full disk: read-only %q, %v", s.ReadOnly, err)
	}
	l.awaitUp(t, "n01", "n01", "")
	l.mustSh(t, "head1", "rm "+fill)
	eventually(t, replyTime, "the head takes changes again", func(context.Context) error { return add("after", most) })
	list, err := l.head.Nodes(t.Context(), "~^full")
	must(t, err)
	var got []string
	for _, n := range list {
		got = append(got, n.Name)
	}
	if diff := cmp.Diff(kept, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("nodes that were acknowledged on a full disk (-acknowledged +there):\n%s", diff)
	}
	l.cli(t, "node", "rm", "after,~^full")
}

// daemonKilled ends the head's process as an out-of-memory killer would.
func (l *life) daemonKilled(t *testing.T) {
	before := l.memory(t)
	status, err := l.head.Status(t.Context())
	must(t, err)
	began := time.Now()
	l.mustSh(t, "head1", `ps | grep 'masthead head ru[n]' | while read pid rest; do kill -9 $pid; done`)
	eventually(t, replyTime, "the head's daemon is back", func(ctx context.Context) error {
		now, err := l.head.Status(ctx)
		if err == nil && now.Started.Equal(status.Started) {
			err = errors.New("it still runs")
		}
		return err
	})
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the head's daemon took %v to come back", took)
	} else {
		t.Logf("the head's daemon was back after %.1f s", took.Seconds())
	}
	l.remembers(t, before)
}

// headCut takes the power from the head while n01 reads its root from it.
func (l *life) headCut(t *testing.T) {
	before := l.memory(t)
	port := l.Machine("n01").Port(0)
	must(t, l.Delay("n01", 0, vmtest.Both, 50*time.Millisecond, 0)) // so that the read lasts
	received := port.Counters().ReceivedBytes
	console := l.Machine("n01").Console.ReaderFromHere()
	l.typed(t, "n01", "sha256sum /dev/nbd0")
	eventually(t, replyTime, "n01 reads", func(context.Context) error {
		if n := port.Counters().ReceivedBytes - received; n < 600<<10 {
			return fmt.Errorf("%d bytes came", n)
		}
		return nil
	})
	must(t, l.PowerCut("head1"))
	must(t, l.HealLink("n01", 0))
	ctx, cancel := context.WithTimeout(t.Context(), replyTime)
	defer cancel()
	if _, err := console.Expect(ctx, `no source of the root answers: reads wait`); err != nil {
		t.Fatalf("n01: %v", err)
	}

	// n02 has its whole root in memory, and misses nobody.
	if out := l.mustSh(t, "n02", "sha256sum /dev/nbd0"); !strings.Contains(out, l.worker.root) {
		t.Errorf("n02 read its root without a head as\n%swant %s", out, l.worker.root)
	}

	back := time.Now()
	must(t, l.PowerOn(t.Context(), "head1"))
	l.awaitHead(t, "head1")
	t.Logf("the head was back after %.1f s", time.Since(back).Seconds())
	out, status := l.finished(t, "n01", bootTime)
	if status != "0" || !strings.Contains(out, l.worker.root) {
		t.Errorf("n01 read its root across the outage with status %s as\n%swant %s", status, out, l.worker.root)
	}
	again, cancel := context.WithTimeout(t.Context(), replyTime)
	defer cancel()
	if _, err := console.Expect(again, `the chunks of the root come again`); err != nil {
		t.Errorf("n01: %v", err)
	}
	l.remembers(t, before)
}

// powerOff ends n01 in order, and starts it again with a command line that asks for the rescue shell.
func (l *life) powerOff(t *testing.T) {
	began := time.Now()
	must(t, l.Machine("n01").Console.Type("poweroff\n"))
	ctx, cancel := context.WithTimeout(t.Context(), replyTime)
	defer cancel()
	if err := l.Machine("n01").Wait(ctx); err != nil || l.Machine("n01").State(ctx) != vmtest.Off {
		t.Fatalf("n01 is %s after poweroff: %v", l.Machine("n01").State(ctx), err)
	}
	t.Logf("n01 was off after %.1f s", time.Since(began).Seconds())
	l.cli(t, "node", "set", "n01", "--cmdline", images.KeyRescue)
	must(t, l.PowerOn(t.Context(), "n01"))
}

// kexec starts n02 anew past its firmware, while a wall keeps it from the head's API.
func (l *life) kexec(t *testing.T) {
	before, err := l.head.Why(t.Context(), "n02")
	must(t, err)
	resets := l.resets("n02")
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	console := l.Machine("n02").Console.ReaderFromHere()
	must(t, l.Machine("n02").Console.Type("masthead reboot --kexec\n"))
	for _, pattern := range []string{`restarting into worker-minimal`, `Linux version`, `head does not answer.*https://` + headAddress} {
		if _, err := console.Expect(ctx, pattern); err != nil {
			t.Fatalf("n02: %v", err)
		}
		// Not earlier: the kernel that is loaded comes over that port.
		l.Machine("n02").Port(0).SetFilter(dropPort(443))
	}
	why, err := l.head.Why(t.Context(), "n02")
	must(t, err)
	t.Logf("why n02, behind the wall: %s; try: %s", why.Verdict, why.Try)
	l.Machine("n02").Port(0).SetFilter(nil)
	why = l.awaitUp(t, "n02", "n02", before.Boot)
	checkStages(t, why) // none of the firmware's
	if l.resets("n02") != resets {
		t.Errorf("n02 went through %d resets on its way by kexec", l.resets("n02")-resets)
	}
	for _, s := range why.Stages {
		if s.Stage == wire.StageRoot && !strings.Contains(s.Detail, " ram,") {
			t.Errorf("n02 came back with %s, want root=ram as before", s.Detail)
		}
	}
	must(t, l.PowerCut("n02"))
}

// dropPort is a wall that lets no IPv4 packet through to a TCP port.
func dropPort(port uint16) ethernet.Filter {
	return func(f []byte) []byte {
		if len(f) < 14+20 || binary.BigEndian.Uint16(f[12:]) != etherIPv4 || f[14+9] != protoTCP {
			return f
		}
		if at := 14 + int(f[14]&15)*4; len(f) >= at+4 && binary.BigEndian.Uint16(f[at+2:]) == port {
			return nil
		}
		return f
	}
}

// rescue uses the shell that n01 gives before its root, and cuts its cable before it goes on.
func (l *life) rescue(t *testing.T) {
	l.expect(t, "n01", bootTime, `masthead.rescue is set: a shell before the root is mounted`)
	if out := l.mustSh(t, "n01", "cat /proc/cmdline; ls /run/masthead"); !strings.Contains(out, images.KeyRescue) || strings.Contains(out, "root") {
		t.Errorf("in the rescue shell:\n%s", out)
	}
	must(t, l.CutLink("n01", 0, vmtest.Both))
	must(t, l.Machine("n01").Console.Type("exit\n"))
}

func (l *life) pxeByUEFI(t *testing.T) {
	must(t, l.Register(t.Context(), l.head, "n03", wire.NodeChange{}))
	why := l.awaitUp(t, "n03", "n03", "")
	checkStages(t, why, byLoader...)
	checkOneAddress(t, why, netip.Addr{}, 3)
	if why.Node.Inventory.Firmware != "uefi" {
		t.Errorf("n03 says that its firmware is %q", why.Node.Inventory.Firmware)
	}
	must(t, l.PowerCut("n03"))
}

func (l *life) httpByUEFI(t *testing.T) {
	must(t, l.Register(t.Context(), l.head, "n04", wire.NodeChange{}))
	why := l.awaitUp(t, "n04", "n04", "")
	checkStages(t, why, byLoader...)
	checkOneAddress(t, why, netip.Addr{}, 3)
	must(t, l.PowerCut("n04"))
}

// failedBoot reads what n01 has to say of its cable on its console, and mends it for the head to hear it too.
func (l *life) failedBoot(t *testing.T) {
	match := l.expect(t, "n01", 2*time.Minute, `(?s)\*\*\* boot failed at stage "root".*\*\*\* cause: ([^\n]*)\n.*\*\*\* try: +([^\n]*)\n.*\*\*\* a shell follows`)
	if !strings.Contains(match[1], headAddress) {
		t.Errorf("the console of n01 names as the cause %q, and as what to try %q", match[1], match[2])
	}
	must(t, l.HealLink("n01", 0))
	if out := l.mustSh(t, "n01", "echo I am here"); !strings.Contains(out, "I am here") {
		t.Errorf("in the shell after a failed boot:\n%s", out)
	}
	eventually(t, replyTime, "why tells what happened to n01", func(ctx context.Context) error {
		why, err := l.head.Why(ctx, "n01")
		if err == nil && (!strings.Contains(why.Verdict, "failed at stage root") || !strings.Contains(why.Verdict, headAddress) || why.Try == "") {
			err = fmt.Errorf("verdict %q, try %q", why.Verdict, why.Try)
		}
		return err
	})
}

// damagedChunk lets the head's store hold the first chunk of the root torn, and mends that once n01, which restarts out
// of its rescue shell, has told of it.
func (l *life) damagedChunk(t *testing.T) {
	chunk := l.worker.manifest.Root.Chunks[0]
	folder := images.StateDir + "/images/blobs/" + chunk.Digest.Hex()[:2]
	blob := folder + "/" + chunk.Digest.Hex()
	l.mustSh(t, "head1", fmt.Sprintf("mkdir -p %s && echo torn > %s", folder, blob))
	l.cli(t, "node", "set", "n01", "--cmdline", "")
	before, err := l.head.Why(t.Context(), "n01")
	must(t, err)
	must(t, l.Machine("n01").Console.Type("exit\n"))
	l.expect(t, "n01", bootTime, `no source of the root answers: reads wait \(.*damaged`)
	var why wire.Why
	eventually(t, replyTime, "why tells of the damage", func(ctx context.Context) (err error) {
		if why, err = l.head.Why(ctx, "n01"); err == nil && (why.Boot == before.Boot || !strings.Contains(why.Verdict, "root") || why.Try == "") {
			err = fmt.Errorf("verdict %q, try %q, events\n%s", why.Verdict, why.Try, eventsText(why.Events))
		}
		return err
	})
	t.Logf("why n01, with a damaged root: %s; try: %s", why.Verdict, why.Try)
	status, err := l.head.Status(t.Context())
	must(t, err)
	if !slices.ContainsFunc(status.Events, func(e wire.Event) bool {
		return e.Failed && strings.Contains(e.Text, string(chunk.Digest)) && strings.Contains(e.Text, "damaged")
	}) {
		t.Errorf("no event tells of the damaged blob:\n%s", eventsText(status.Events))
	}
	l.mustSh(t, "head1", "rm "+blob)
	why = l.awaitUp(t, "n01", "n01", before.Boot)
	checkStages(t, why, byScript...)
	if out := l.mustSh(t, "n01", "sha256sum /dev/nbd0"); !strings.Contains(out, l.worker.root) {
		t.Errorf("n01 reads its root as\n%swant %s", out, l.worker.root)
	}
}
