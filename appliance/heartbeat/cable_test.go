package heartbeat

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
	"masthead/vmtest/prerequisite"
)

// pty is a pseudo terminal: the slave is the device, the master what is at the other end of its line.
func pty(t testing.TB) (master *os.File, device string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	prerequisite.Have(t, err == nil, fmt.Sprintf("pseudo terminals (%v)", err))
	t.Cleanup(func() { master.Close() })
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if e := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return master, fmt.Sprintf("/dev/pts/%d", n)
}

// join makes a null-modem cable of two pseudo terminals. pass changes what goes by; nil: nothing is changed.
func join(t testing.TB, pass func(from int, b []byte) []byte) (devices [2]string) {
	t.Helper()
	var masters [2]*os.File
	for i := range 2 {
		masters[i], devices[i] = pty(t)
		// A master fails to read while nobody has the device open.
		open, err := openUnpolled(devices[i])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { open.Close() })
	}
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			b := make([]byte, 256)
			for {
				n, err := masters[i].Read(b)
				if err != nil {
					return
				}
				out := b[:n]
				if pass != nil {
					out = pass(i, out)
				}
				if _, err := masters[1-i].Write(out); err != nil {
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		for _, m := range masters {
			m.Close()
		}
		wg.Wait()
	})
	return devices
}

func cableConfig(self int, device string) Config {
	return Config{Cluster: "c1", Self: self, Key: testKey, Serial: []Serial{{Device: device, Peer: 1 - self}}}
}

// heads starts both ends of a cable.
func heads(t testing.TB, devices [2]string) (a, b *Heartbeat) {
	t.Helper()
	a, b = start(t, cableConfig(0, devices[0])), start(t, cableConfig(1, devices[1]))
	a.Say(saying(10, 1))
	b.Say(saying(11, 2))
	return a, b
}

func heardEachOther(a, b *Heartbeat) func() bool {
	return func() bool {
		la, lb := a.Links()[0], b.Links()[0]
		return la.HeardUs == failover.Up && lb.HeardUs == failover.Up && a.Said(1).Epoch == 2 && b.Said(0).Epoch == 1
	}
}

func TestCable(t *testing.T) {
	a, b := heads(t, join(t, nil))
	await(t, "both to hear", heardEachOther(a, b))
	await(t, "twenty heartbeats", func() bool { return a.Links()[0].Good >= 20 })
	for _, h := range []*Heartbeat{a, b} {
		if l := h.Links()[0]; l.Garbled+l.Forged+l.Missed+l.Stale > 0 || l.Kind != failover.LinkSerial || l.Carrier != failover.Unknown {
			t.Errorf("%+v", l)
		}
	}
}

// TestCableUnpolled: no epoll instance of this process has the line, see cable.
func TestCableUnpolled(t *testing.T) {
	devices := join(t, nil)
	a, b := heads(t, devices)
	await(t, "both to hear", heardEachOther(a, b))
	all, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	polled := 0
	for _, info := range all {
		text, err := os.ReadFile(info)
		if err != nil {
			continue // of the folder itself
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line) // tfd: 4 events: ...
			if len(fields) < 2 || fields[0] != "tfd:" {
				continue
			}
			polled++
			if name, _ := os.Readlink("/proc/self/fd/" + fields[1]); name == devices[0] || name == devices[1] {
				t.Errorf("the runtime polls %s", name)
			}
		}
	}
	if polled == 0 {
		t.Error("nothing is polled, not even the timers of the senders")
	}
}

// TestCableGarbage: a kernel that prints its messages on the line, and a bit that falls over in each third piece.
func TestCableGarbage(t *testing.T) {
	var mu sync.Mutex
	n := 0
	a, b := heads(t, join(t, func(_ int, p []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		switch n++; n % 3 {
		case 0:
			return append([]byte("\r\n[   12.345678] usb 1-1: new device\r\n"), p...)
		case 1:
			p = bytes.Clone(p)
			p[len(p)/2] ^= 0x10
		}
		return p
	}))
	await(t, "both to hear", heardEachOther(a, b))
	await(t, "garbled ones on both sides", func() bool {
		la, lb := a.Links()[0], b.Links()[0]
		return la.Garbled >= 3 && lb.Garbled >= 3 && la.Missed > 0 && la.Good >= 5
	})
	if l := a.Links()[0]; l.Forged > 0 {
		t.Errorf("a damaged frame passes for a forged one: %+v", l)
	}
}

// TestCableSlow: the line carries 11,520 bytes a second, byte after byte, as one of 115200 baud.
func TestCableSlow(t *testing.T) {
	const perByte = time.Second / 11520
	a, b := heads(t, join(t, func(_ int, p []byte) []byte {
		<-time.After(time.Duration(len(p)) * perByte)
		return p
	}))
	await(t, "both to hear", heardEachOther(a, b))
	for epoch := failover.Epoch(3); epoch < 40; epoch++ { // changes faster than the line's turns
		a.Say(saying(10, epoch))
	}
	await(t, "the last word", func() bool { return b.Said(0).Epoch == 39 })
	await(t, "heartbeats after it", func() bool { l := b.Links()[0]; return l.Good >= 15 && l.Garbled == 0 })
}

// TestCableStuck: nobody takes what is sent. Neither the sender nor the end of Run waits for the line.
func TestCableStuck(t *testing.T) {
	_, device := pty(t) // a master that reads nothing
	at := local(t, 2)
	c := cableConfig(0, device)
	c.SerialInterval = time.Millisecond
	c.NICs = []NIC{{Peer: 1, Local: at[0], Remote: at[1]}}
	a := start(t, c)
	b := start(t, Config{Cluster: "c1", Self: 1, Key: testKey, NICs: []NIC{{Peer: 0, Local: at[1], Remote: at[0]}}})
	a.Say(saying(10, 1))
	b.Say(saying(11, 2))
	await(t, "the line to be full", func() bool { return a.Links()[1].Trouble == errLineBusy.Error() })
	good := b.Links()[0].Good
	await(t, "heartbeats by the card", func() bool { return b.Links()[0].Good >= good+5 })
}

// TestCableVanishes: the device goes, as that of a USB adapter does, and another one comes under its name.
func TestCableVanishes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ttyUSB0")
	a := start(t, cableConfig(0, name))
	a.Say(saying(10, 1))
	await(t, "the trouble", func() bool { return a.Links()[0].Trouble != "" })
	seal := newSeal("c1", testKey)
	for seq := uint32(1); seq <= 3; seq++ {
		master, device := pty(t)
		os.Remove(name)
		if err := os.Symlink(device, name); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		await(t, "the device to be opened and a heartbeat", func() bool {
			master.SetReadDeadline(time.Now().Add(time.Second))
			_, err := io.ReadFull(master, b)
			return err == nil
		})
		f, _ := seal.encode(frame{From: 1, To: 0, Start: 5, Seq: seq, Said: saying(7, 3)})
		line := stuff(f)
		if _, err := master.Write(line[:]); err != nil {
			t.Fatal(err)
		}
		await(t, "the frame", func() bool { return a.Links()[0].Good == uint64(seq) })
		master.Close()
		await(t, "the hang-up", func() bool { return a.Links()[0].Trouble != "" })
	}
}

// TestCableNoTerminal: a device without a line's settings, as a virtio port, is taken as it is.
func TestCableNoTerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	a := start(t, cableConfig(0, path)) // a FIFO that is open for both hears itself
	a.Say(saying(10, 1))
	await(t, "its own frames, which are no peer's", func() bool { l := a.Links()[0]; return l.Forged >= 3 && l.Sent >= 3 })
	if l := a.Links()[0]; l.Heard >= 0 || l.Trouble != "heard head 0 speaking to head 1" {
		t.Errorf("%+v", l)
	}
}
