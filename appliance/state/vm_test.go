package state

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"masthead/vmtest/guestkernel"
	"masthead/vmtest/prerequisite"
	"masthead/vmtest/qemu"
)

const (
	powerCuts = 12
	// bootTime is long enough for an emulated processor that something else shares.
	bootTime = 2 * time.Minute
)

// TestVMPowerCuts cuts the power of a machine that writes as fast as it can, again and again, and has it check each
// time that all is there that it ever acknowledged. testdata/guest is its PID 1. Each boot has a fresh qcow2 layer over
// the last one, whose tables QEMU keeps in memory until the guest flushes the disk. So the SIGKILL loses what the
// kernel had not written, and what the disk had not been told to keep.
func TestVMPowerCuts(t *testing.T) {
	if os.Getenv("MASTHEAD_VM") != "1" {
		t.Skip("MASTHEAD_VM is not 1")
	}
	prerequisite.Programs(t, "qemu-system-x86_64", "qemu-img", "mkfs.ext4", "dpkg-deb", "depmod", "apt-get", "go")
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("MASTHEAD_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("MASTHEAD_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	kernel, modules := guestkernel.Debian(t, "virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
	m := &cutMachine{kernel: kernel, initramfs: cutInitramfs(t, modules), dir: t.TempDir(), acked: map[string]int{}}
	m.newDisk(t)

	wrote := false
	for boot := range powerCuts {
		// In the first moments of the writing as well as in its middle.
		after := time.Duration(rnd.Int64N(int64(1500 * time.Millisecond)))
		r := m.boot(t, boot, after)
		t.Logf("boot %d: %s; cut %v after the first of %d acknowledged writes", boot, r.verified, after.Round(time.Millisecond), r.acks)
		wrote = wrote || r.canary
		if t.Failed() {
			t.FailNow()
		}
	}
	r := m.boot(t, powerCuts, 0)
	t.Logf("at last: %s", r.verified)
	if !wrote || r.found > 0 {
		t.Errorf("written without a flush: %t; of it there after all cuts: %d blocks. The cuts lose nothing, and prove little", wrote, r.found)
	}
}

// cutMachine is a machine whose power goes.
type cutMachine struct {
	kernel, initramfs, dir string
	disks                  [2]string      // the newest layer of the state's disk, and of the canary
	acked                  map[string]int // BOOT.WRITER: the last I
}

func (m *cutMachine) newDisk(t *testing.T) {
	raw := filepath.Join(m.dir, "raw")
	guestkernel.Command(t, "", "truncate", "-s", "1G", raw)
	guestkernel.Command(t, "", "mkfs.ext4", "-q", "-E", "lazy_itable_init=0", raw)
	m.disks = [2]string{filepath.Join(m.dir, "state.qcow2"), filepath.Join(m.dir, "canary.qcow2")}
	guestkernel.Command(t, "", "qemu-img", "convert", "-O", "qcow2", raw, m.disks[0])
	guestkernel.Command(t, "", "qemu-img", "create", "-q", "-f", "qcow2", m.disks[1], "512M")
}

// cutResult is what one boot told.
type cutResult struct {
	verified string
	acks     int
	canary   bool // something was written without a flush
	found    int  // blocks that earlier boots wrote so
}

// boot starts the machine and cuts its power that long after the first acknowledged write; 0: it only checks.
func (m *cutMachine) boot(t *testing.T, n int, after time.Duration) (r cutResult) {
	t.Helper()
	layers := m.disks
	for i, below := range m.disks {
		layers[i] = fmt.Sprintf("%s.%d", below, n)
		guestkernel.Command(t, "", "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, layers[i])
	}
	m.disks = layers
	var acked []string
	for _, w := range slices.Sorted(maps.Keys(m.acked)) {
		acked = append(acked, fmt.Sprintf("%s.%d", w, m.acked[w]))
	}
	cut := "yes"
	if after == 0 {
		cut = "no"
	}
	accelerator := qemu.HostAccelerator()
	args := []string{"-accel", string(accelerator), "-m", "384", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-drive", "if=virtio,format=qcow2,cache=writeback,file=" + layers[0],
		"-drive", "if=virtio,format=qcow2,cache=writeback,file=" + layers[1],
		"-kernel", m.kernel, "-initrd", m.initramfs,
		"-append", fmt.Sprintf("console=ttyS0 quiet panic=-1 boot=%d cut=%s acked=%s", n, cut, strings.Join(acked, ","))}
	machine := exec.Command("qemu-system-x86_64", args...)
	out, err := machine.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	machine.Stderr = &stderr
	if err := machine.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(bootTime, func() { machine.Process.Kill() })
	defer timer.Stop()
	var console strings.Builder
	passed := false
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadString('\n')
		console.WriteString(line)
		if err == io.EOF {
			break // a line without its end was not printed whole, and counts for nothing
		}
		if err != nil {
			t.Fatal(err)
		}
		line = strings.TrimSpace(line)
		switch word, rest, _ := strings.Cut(line, " "); word {
		case "ACK":
			if r.acks == 0 {
				timer.Reset(after)
			}
			r.acks++
			at := strings.LastIndex(rest, ".")
			i, err := strconv.Atoi(rest[at+1:])
			if err != nil {
				t.Errorf("guest: %q", line)
			}
			m.acked[rest[:at]] = i
		case "FOUND":
			r.found, _ = strconv.Atoi(rest)
		case "CANARY":
			r.canary = true
		case "VERIFIED":
			r.verified = rest
		case "PASSED":
			passed = true
		case "FAILED":
			t.Errorf("boot %d: guest: %s", n, rest)
		}
	}
	machine.Wait() // killed, as it should, but for the last time
	if r.verified == "" || (cut == "yes" && r.acks == 0) || (cut == "no" && !passed) {
		path := filepath.Join(os.TempDir(), "state-vm-console.txt")
		os.WriteFile(path, []byte(console.String()), 0o644)
		tail := console.String()
		t.Fatalf("boot %d: the guest did not do its part\nqemu-system-x86_64 %s\n%s\nconsole, all of it in %s:\n%s", n,
			strings.Join(args, " "), stderr.String(), path, tail[max(0, len(tail)-3000):])
	}
	return r
}

// cutInitramfs is the guest with its modules.
func cutInitramfs(t *testing.T, modules []string) string {
	t.Helper()
	init := filepath.Join(t.TempDir(), "guest")
	guestkernel.Command(t, "", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", init, "./testdata/guest")
	path := filepath.Join(t.TempDir(), "initramfs")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	w := cpio.NewWriter(z)
	add := func(name string, mode cpio.FileMode, data []byte) {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: mode | cpio.TypeReg, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	add("init", 0o755, read(init))
	var names []string
	for i, m := range modules {
		name := fmt.Sprintf("%02d-%s", i, filepath.Base(m))
		add(name, 0o644, read(m))
		names = append(names, "/"+name)
	}
	add("modules.txt", 0o644, []byte(strings.Join(names, "\n")))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
