package cluster

import (
	"testing"
	"time"

	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

func TestVMExplore(t *testing.T) {
	c := start(t, 3, vmtest.Config{
		Name: "light", Capture: true,
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: "head", Memory: 384, ISO: iso(t, definition(t, "head-minimal")), Disks: []vmtest.DiskConfig{{Size: 128 << 20, Label: "masthead-state"}}, Forward: map[string]int{HTTPS: 443, "http": 80}},
			"n01":   {Role: "worker", Memory: 256},
			"n04":   {Role: "worker", Memory: 320, Firmware: qemu.UEFI, Boot: vmtest.Boot{qemu.FromHTTP}},
			"n02":   {Role: "worker", Memory: 256, NICs: []vmtest.NICConfig{{PlainPXE: true}}},
		},
	})
	c.awaitHead(t, "head1")
	t.Log(c.mustSh(t, "head1", "ps; free; df"))
	must(t, c.Register(t.Context(), c.head, "n01", wire.NodeChange{}))
	must(t, c.Register(t.Context(), c.head, "n04", wire.NodeChange{}))
	why := c.awaitUp(t, "n01", "n01", "")
	t.Log(why.Node.RootState)
	t.Log(c.mustSh(t, "n01", "free; df; ps; ls -la /lib/modules"))
	for range 10 {
		n, err := c.head.Node(t.Context(), "n01")
		t.Log(n.RootState, err)
		time.Sleep(time.Second)
	}
	checkStages(t, why, wire.StageDHCP, wire.StageScript, wire.StageKernel, wire.StageInitramfs)
	checkAddress(t, why, 2)
	t.Log(c.mustSh(t, "n01", "sha256sum /dev/nbd0"))
	t.Log(c.cli(t, "node", "why", "n01"))
	why = c.awaitUp(t, "n04", "n04", "")
	t.Log(c.cli(t, "node", "why", "n04"))
	checkStages(t, why, wire.StageDHCP, wire.StageTFTP, wire.StageScript, wire.StageKernel, wire.StageInitramfs)
	checkAddress(t, why, 2)
	must(t, c.PowerCut("n04"))
	must(t, c.PowerOn(t.Context(), "n02"))
	time.Sleep(60 * time.Second)
	t.Log(c.cli(t, "node", "list"))
	t.Log(c.cli(t, "node", "why", "n02"))
	t.Log(c.cli(t, "status"))
}
