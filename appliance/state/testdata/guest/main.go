// Command guest is PID 1 of the virtual machine whose power the test of package state cuts. It checks that the state on
// its disk has all that was acknowledged before the cuts so far (the kernel's command line says up to where), then
// writes as fast as it can and prints each write that is acknowledged, until the power goes.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"masthead/appliance/state"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("FAILED", err)
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	if err := setUp(); err != nil {
		return err
	}
	args, err := arguments()
	if err != nil {
		return err
	}
	found, err := readCanary()
	if err != nil {
		return err
	}
	fmt.Println("FOUND", found)
	d, err := state.Open(state.Config{Dir: "/mnt/state", Head: "head-1", AuditKeep: 500})
	if err != nil {
		return err
	}
	if err := d.Damage(); err != nil {
		return err
	}
	if err := verify(d, args["acked"]); err != nil {
		return err
	}
	if args["cut"] == "no" {
		fmt.Println("PASSED")
		return d.Close()
	}
	write(d, args["boot"])
	return nil
}

func setUp() error {
	for _, m := range []struct{ kind, dir string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	console, err := os.OpenFile("/dev/ttyS0", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	os.Stdout, os.Stderr = console, console
	unix.Dup2(int(console.Fd()), 2) // panics of the runtime too
	list, err := os.ReadFile("/modules.txt")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		if err := load(name); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	if err := os.MkdirAll("/mnt", 0o755); err != nil {
		return err
	}
	for range 500 { // the disk appears a moment after its driver
		if err = unix.Mount("/dev/vda", "/mnt", "ext4", 0, ""); !errors.Is(err, unix.ENOENT) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("mount /dev/vda: %w", err)
	}
	return nil
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(name, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := unix.FinitModule(int(f.Fd()), "", flags); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func arguments() (map[string]string, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	args := map[string]string{}
	for _, word := range strings.Fields(string(line)) {
		name, value, _ := strings.Cut(word, "=")
		args[name] = value
	}
	return args, nil
}

// verify checks each write BOOT.WRITER.I up to the I that is named for each BOOT.WRITER, and that no half of a change is
// there.
func verify(d *state.DB, acked string) error {
	began := time.Now()
	checked := 0
	for _, upTo := range strings.Split(acked, ",") {
		if upTo == "" {
			continue
		}
		at := strings.LastIndex(upTo, ".")
		last, err := strconv.Atoi(upTo[at+1:])
		if err != nil {
			return err
		}
		for i := range last + 1 {
			name := fmt.Sprintf("%s.%d", upTo[:at], i)
			r, err := d.Get(state.Key{Kind: state.KindNode, Name: name})
			if err != nil || string(r.Value) != fmt.Sprint(i) {
				return fmt.Errorf("acknowledged %s: %s, %v", name, r.Value, err)
			}
			checked++
		}
	}
	nodes, leases := d.List(state.KindNode, ""), d.List(state.KindLease, "")
	if len(nodes) != len(leases) {
		return fmt.Errorf("half of a change is there: %d nodes and %d leases", len(nodes), len(leases))
	}
	for i := range nodes {
		if nodes[i].Key.Name != leases[i].Key.Name || nodes[i].Version != leases[i].Version {
			return fmt.Errorf("half of a change is there: %v and %v", nodes[i].Key, leases[i].Key)
		}
	}
	fmt.Println("VERIFIED", checked, "of", len(nodes), "in", time.Since(began).Milliseconds(), "ms")
	return nil
}

const writers = 6

// write never returns: the power is cut.
func write(d *state.DB, boot string) {
	var out sync.Mutex
	say := func(text string) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(text)
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%s.%d.%d", boot, w, i)
				node, _ := state.Put(state.KindNode, name, i)
				lease, _ := state.Put(state.KindLease, name, i)
				if _, err := d.Apply(context.Background(), state.Origin{Who: "test", Where: "guest"}, node, lease); err != nil {
					say("FAILED " + err.Error())
					return
				}
				say("ACK " + name)
			}
		})
	}
	wg.Go(func() {
		if err := writeCanary(func() { say("CANARY") }); err != nil {
			say("FAILED " + err.Error())
		}
	})
	wg.Wait()
}

// The canary is a second disk, which is written past the page cache and never flushed. What of it is there after a cut
// tells whether the cut lost what was not flushed, or the test proves little.
const canaryBlocks = 4096

// block is memory as O_DIRECT wants it.
func block() []byte {
	b := make([]byte, 8192)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & 4095)
	return b[skip : skip+4096]
}

func writeCanary(begun func()) error {
	fd, err := unix.Open("/dev/vdb", unix.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return fmt.Errorf("open /dev/vdb: %w", err)
	}
	b := block()
	binary.LittleEndian.PutUint64(b, 0xCA9A)
	for i := range canaryBlocks {
		if _, err := unix.Pwrite(fd, b, int64(i)*65536); err != nil { // 64 KiB: a cluster of qcow2
			return fmt.Errorf("write /dev/vdb: %w", err)
		}
		if i == 0 {
			begun()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func readCanary() (found int, err error) {
	fd, err := unix.Open("/dev/vdb", unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/vdb: %w", err)
	}
	defer unix.Close(fd)
	b := block()
	for i := range canaryBlocks {
		if _, err := unix.Pread(fd, b, int64(i)*65536); err != nil {
			return 0, fmt.Errorf("read /dev/vdb: %w", err)
		}
		if binary.LittleEndian.Uint64(b) != 0xCA9A {
			return i, nil
		}
	}
	return canaryBlocks, nil
}
