package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/ethernet"
)

// powerOff ends n01 in order, and starts it again with a command line that asks for the rescue shell.
func (l *life) powerOff(t *testing.T) {
	began := time.Now()
	l.enter(t, "n01", "poweroff")
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
	l.enter(t, "n02", "masthead reboot --kexec")
	for _, pattern := range []string{`restarting by kexec into worker-minimal`, `Linux version`, `head does not answer.*https://` + headAddress} {
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
	l.enter(t, "n01", "exit")
}

// failedBoot reads what n01 has to say of its cable on its console, and mends it for the head to hear it too.
func (l *life) failedBoot(t *testing.T) {
	match := l.expect(t, "n01", bootTime, `(?s)\*\*\* boot failed at stage "root".*\*\*\* cause: ([^\n]*)\n.*\*\*\* try: +([^\n]*)\n.*\*\*\* a shell follows`)
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
	l.enter(t, "n01", "exit")
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
