package cluster

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

const minimalTag = "worker-minimal"

// TestVMRoll publishes a good image and rolls the workers to it by kexec, then one that does not boot: the first wave
// stops the roll, the second worker is never touched, and going back mends the first.
func TestVMRoll(t *testing.T) {
	long(t) // TestVMCapture rolls a good image; appliance/roll decides about bad ones
	turn := awaitTurn(t, timed, 3)
	worker := vmtest.MachineConfig{Role: string(images.RoleWorker), Memory: 384, Firmware: qemu.BIOS}
	c := turn.start(t, vmtest.Config{
		Name: "roll",
		Machines: map[string]vmtest.MachineConfig{
			"head1": {Role: string(images.RoleHead), Memory: 384, ISO: iso(t, definition(t, "head-minimal")),
				Disks: []vmtest.DiskConfig{{Size: 128 << 20, Label: images.StateLabel}}, Forward: map[string]int{HTTPS: 443}},
			"n01": worker, "n02": worker,
		},
	})
	c.awaitHead(t, "head1")
	quick := "masthead.panic=3" // a boot that fails is tried again at once
	for _, name := range []string{"n01", "n02"} {
		must(t, c.Register(t.Context(), c.head, name, wire.NodeChange{Cmdline: &quick}))
	}
	for _, name := range []string{"n01", "n02"} {
		c.awaitUp(t, name, name, "")
	}
	roll := func(args ...string) (string, error) {
		t.Helper()
		began := time.Now()
		out, err := masthead(t, c.remote(append([]string{"node", "roll"}, args...))...)
		t.Logf("node roll %s, %.1f s:\n%s", strings.Join(args, " "), time.Since(began).Seconds(), out)
		return out, err
	}
	wants := func(want images.Digest, names ...string) {
		t.Helper()
		for _, name := range names {
			if got := c.running(t, name); got != want {
				t.Errorf("%s runs %s, want %s", name, got.Short(), want.Short())
			}
		}
	}

	good := c.publish(t, minimalTag, func(m *images.Manifest) { m.Cmdline += " good" })
	if list := c.cli(t, "node", "list", "needs-reboot=true"); strings.Count(list, "needs reboot") != 2 {
		t.Errorf("nodes that need a reboot:\n%s", list)
	}
	if out, err := roll("@all", "--wave", "2", "--method", "kexec", "--timeout", "8m", "--check", "uname -r"); err != nil || !contains(out, "wave 1: restarting n[01-02]", "done: 2 of 2 nodes run it") {
		t.Fatalf("to the good image: %v", err)
	}
	wants(good, "n01", "n02")
	if out := c.cli(t, "node", "exec", "@all", "--", "cat /proc/cmdline"); strings.Count(out, " good ") != 2 {
		t.Errorf("the kernel arguments of the new image:\n%s", out)
	}

	c.publish(t, minimalTag, func(m *images.Manifest) { m.Init = "/sbin/none" })
	out, err := roll("@all", "--wave", "1", "--timeout", "8m")
	if err == nil || !contains(out, "wave 1 (n01) is bad, the roll stops", "the root has no init /sbin/none", "try: masthead node why n01", "masthead node roll --back n01") {
		t.Errorf("to an image without its init: %v", err)
	}
	wants(good, "n02")
	if out, err := roll("--back", "n01", "--timeout", "8m"); err != nil || !contains(out, "wave 1: waiting for n01", "done: 1 of 1") {
		t.Errorf("back: %v", err)
	}
	wants(good, "n01", "n02")
	if out, err := roll("--back", "@all"); err != nil || !contains(out, "again already", "nothing to do") {
		t.Errorf("back a second time: %v", err)
	}
}

// publish makes a tag mean its image with a change.
func (c *trial) publish(t *testing.T, tag string, change func(*images.Manifest)) images.Digest {
	t.Helper()
	history, err := c.head.Image(t.Context(), tag)
	must(t, err)
	now, _ := history.Now()
	m, _, err := c.head.Manifest(t.Context(), now.Digest)
	must(t, err)
	change(&m)
	data, d, err := m.Encode()
	must(t, err)
	must(t, c.head.PutBlob(t.Context(), images.Blob{Digest: d, Size: int64(len(data))}, bytes.NewReader(data)))
	_, err = c.head.TagImage(t.Context(), tag, wire.ImageChange{Image: string(d), Source: "test"})
	must(t, err)
	return d
}
