package cluster

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
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
	turn := awaitTurn(t, timed, 3)
	l := &life{worker: readImage(t, "worker-minimal")}
	worker := func(memory int, firmware qemu.Firmware, source qemu.Source, plain bool) vmtest.MachineConfig {
		return vmtest.MachineConfig{Role: string(images.RoleWorker), Memory: memory, Firmware: firmware, Boot: vmtest.Boot{source},
			NICs: []vmtest.NICConfig{{PlainPXE: plain}}}
	}
	l.trial = turn.start(t, vmtest.Config{
		Name: "cluster", Capture: true,
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 384, ISO: iso(t, definition(t, "head-minimal")),
				Disks: []vmtest.DiskConfig{{Size: 128 << 20, Label: images.StateLabel}}, Forward: map[string]int{HTTPS: 443, plainHTTP: 80}},
			// With so little memory n01 cannot keep its whole root, so its reads depend on the head.
			"n01": worker(256, qemu.BIOS, qemu.FromNetwork, false),
			"n02": worker(384, qemu.BIOS, qemu.FromNetwork, true),
			"n03": worker(384, qemu.UEFI, qemu.FromNetwork, false),
			"n04": worker(384, qemu.UEFI, qemu.FromHTTP, false),
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

func (l *life) pxeByUEFI(t *testing.T) {
	must(t, l.Register(t.Context(), l.head, "n03", wire.NodeChange{}))
	why := l.awaitUp(t, "n03", "n03", "")
	checkStages(t, why, byLoader...)
	checkOneAddress(t, why, netip.Addr{}, 2) // the firmware, Linux: GRUB keeps what the firmware has
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
