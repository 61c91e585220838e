// Command guest is PID 1 of the virtual machine that package rootdev is tested in. It does what init does with a root
// device, step by step with the test on the other end of the serial line: it prints a line, and where the test has to
// do something meanwhile it waits for one.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"masthead/node/rootdev"
	"masthead/node/rootdev/nbd"
	"masthead/node/wire"
)

const root = "/mnt"

func main() {
	if os.Args[0] == rootdev.ProcessName {
		if rootdev.Process(context.Background()) != nil {
			os.Exit(1)
		}
		return
	}
	g := &guest{}
	err := g.setUp()
	if err == nil {
		err = g.run()
	}
	if err != nil {
		fmt.Println("FAILED", err)
	} else {
		fmt.Println("PASSED")
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

type guest struct {
	in     *bufio.Reader
	config rootdev.Config
	files  map[string]string // SHA-256 by path
}

func (g *guest) setUp() error {
	for _, m := range []struct{ kind, dir string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}} {
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
	unix.Dup2(int(console.Fd()), 1)
	unix.Dup2(int(console.Fd()), 2)
	g.in = bufio.NewReader(console)

	list, err := os.ReadFile("/modules.txt")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		flags := 0
		if !strings.HasSuffix(name, ".ko") {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		if err := unix.FinitModule(int(f.Fd()), "", flags); err != nil && err != unix.EEXIST {
			return fmt.Errorf("load %s: %w", name, err)
		}
		f.Close()
	}
	for _, name := range []string{"lo", "eth0"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		if name == "eth0" {
			a, err := netlink.ParseAddr("10.0.2.15/24")
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
	}
	data, err := os.ReadFile("/config.json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &g.config); err != nil {
		return err
	}
	if data, err = os.ReadFile("/files.json"); err != nil {
		return err
	}
	return json.Unmarshal(data, &g.files)
}

// await prints a line and blocks until the test has done its part.
func (g *guest) await(line string) error {
	fmt.Println(line)
	answer, err := g.in.ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "go" {
		return fmt.Errorf("after %s: %q, %v", line, answer, err)
	}
	return nil
}

func (g *guest) run() error {
	ctx := context.Background()
	began := time.Now()
	h, err := rootdev.Start(ctx, "/init", g.config)
	if err != nil {
		return err
	}
	fmt.Printf("STARTED %s after %d ms\n", h.Device, time.Since(began).Milliseconds())
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	began = time.Now()
	if err := unix.Mount(h.Device, root, "erofs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount %s: %w", h.Device, err)
	}
	fmt.Printf("MOUNTED after %d ms\n", time.Since(began).Milliseconds())
	for _, step := range []struct {
		name string
		do   func(context.Context, *rootdev.Handle) error
	}{
		{"read-only", g.readOnly},
		{"signals", g.signals},
		{"outage", g.outage},
		{"takeover", g.takeOver},
		{"speed", g.speed},
		{"drop", g.dropIt},
	} {
		if err := step.do(ctx, h); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("DONE", step.name)
	}
	return nil
}

func (g *guest) readOnly(_ context.Context, h *rootdev.Handle) error {
	f, err := os.OpenFile(h.Device, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(make([]byte, 4096))
		f.Close()
	}
	if err == nil {
		return fmt.Errorf("%s takes writes", h.Device)
	}
	for file, want := range map[string]string{
		"ro":                       "1",
		"queue/logical_block_size": "4096",
		"queue/read_ahead_kb":      strconv.Itoa(nbd.DefaultTuning.ReadAhead),
		"queue/io_timeout":         strconv.FormatInt(nbd.DefaultTuning.Remind.Milliseconds(), 10),
	} {
		if got := sys(h, file); got != want {
			return fmt.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	return nil
}

// signals sends what a shutdown sends, and looks at what protects the process.
func (g *guest) signals(ctx context.Context, h *rootdev.Handle) error {
	for _, s := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGPIPE} {
		if err := unix.Kill(h.PID, s); err != nil {
			return err
		}
	}
	if _, err := h.Control.Status(ctx); err != nil {
		return fmt.Errorf("after signals: %w", err)
	}
	args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", h.PID))
	oom, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", h.PID))
	if string(args) != rootdev.ProcessName+"\x00" || string(oom) != "-1000\n" {
		return fmt.Errorf("cmdline %q, oom_score_adj %q", args, oom)
	}
	fmt.Println("MEMORY idle", memory(h))
	return nil
}

// outage reads half of the files, then the other half with the head away for a while.
func (g *guest) outage(ctx context.Context, h *rootdev.Handle) error {
	paths := g.paths()
	half := len(paths) / 2
	if err := g.check(paths[:half]); err != nil {
		return err
	}
	if err := g.await("KILL-HEAD"); err != nil {
		return err
	}
	// The kernel looks after requests of this age: with more than one socket it would give the device up here.
	if err := os.WriteFile("/sys/block/nbd0/queue/io_timeout", []byte("1000"), 0); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- g.check(paths[half:]) }()
	watching, enough := context.WithCancel(ctx)
	h.Control.Watch(watching, func(e wire.Event) {
		fmt.Println("EVENT", e.Text)
		if e.Failed {
			enough()
		}
	})
	select {
	case err := <-done:
		return fmt.Errorf("the files were read without a head: %v", err)
	case <-time.After(8 * time.Second):
	}
	st, err := h.Control.Status(ctx)
	if err != nil || st.Waiting < 7 {
		return fmt.Errorf("status %+v, %v", st, err)
	}
	fmt.Printf("STATUS %+v\n", st)
	if err := g.await("REVIVE-HEAD"); err != nil {
		return err
	}
	began := time.Now()
	if err := <-done; err != nil {
		return err
	}
	fmt.Printf("RESUMED after %d ms\n", time.Since(began).Milliseconds())
	return os.WriteFile("/sys/block/nbd0/queue/io_timeout", []byte("5000"), 0)
}

// takeOver kills the process, first while nothing goes on and then with reads in its hands, and starts it anew.
func (g *guest) takeOver(ctx context.Context, h *rootdev.Handle) error {
	if err := g.dropCaches(); err != nil {
		return err
	}
	if err := unix.Kill(h.PID, unix.SIGKILL); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- g.check(g.paths()) }() // the kernel has no socket to send these to
	time.Sleep(500 * time.Millisecond)
	c := g.config
	c.TakeOver = h.Device
	again, err := rootdev.Start(ctx, "/init", c)
	if err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	fmt.Println("TAKEN-OVER between reads")

	// And with reads in its hands, which wait for a head.
	if err := g.dropCaches(); err != nil {
		return err
	}
	if err := unix.Kill(again.PID, unix.SIGKILL); err != nil {
		return err
	}
	lost := c
	lost.Heads.Heads = []wire.Head{{Name: "nobody", URL: "https://127.0.0.1:9"}}
	if again, err = rootdev.Start(ctx, "/init", lost); err != nil {
		return err
	}
	// Reads that the dead process had taken come back when the kernel looks after requests of their age.
	if err := os.WriteFile("/sys/block/nbd0/queue/io_timeout", []byte("3000"), 0); err != nil {
		return err
	}
	go func() { done <- g.check(g.paths()) }()
	for {
		st, err := again.Control.Status(ctx)
		if err != nil {
			return err
		}
		if st.Waiting > 1 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := unix.Kill(again.PID, unix.SIGKILL); err != nil {
		return err
	}
	if again, err = rootdev.Start(ctx, "/init", c); err != nil {
		return err
	}
	began := time.Now()
	if err := <-done; err != nil {
		return err
	}
	fmt.Printf("TAKEN-OVER in the middle of reads after %d ms\n", time.Since(began).Milliseconds())
	*h = *again
	return nil
}

// speed reads the whole device from the process's cache, and the memory that it takes.
func (g *guest) speed(ctx context.Context, h *rootdev.Handle) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		st, err := h.Control.Status(ctx)
		if err != nil {
			return err
		}
		if st.Present == st.Chunks {
			fmt.Printf("STATUS %+v\n", st)
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("prefetch does not end: %+v", st)
		}
	}
	for _, ahead := range []string{"128", "1024", "4096"} {
		if err := os.WriteFile("/sys/block/nbd0/queue/read_ahead_kb", []byte(ahead), 0); err != nil {
			return err
		}
		if err := g.dropCaches(); err != nil {
			return err
		}
		f, err := os.Open(h.Device)
		if err != nil {
			return err
		}
		began := time.Now()
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, f, make([]byte, 128<<10))
		f.Close()
		if err != nil {
			return err
		}
		fmt.Printf("SPEED read ahead %s KiB: %.0f MB/s\n", ahead, float64(n)/1e6/time.Since(began).Seconds())
	}
	fmt.Println("MEMORY full", memory(h))
	return nil
}

func (g *guest) dropIt(ctx context.Context, h *rootdev.Handle) error {
	if err := unix.Unmount(root, 0); err != nil {
		return err
	}
	if err := h.Control.Drop(ctx); err != nil {
		return err
	}
	if size := sys(h, "size"); size != "0" {
		return fmt.Errorf("the device still has %s sectors", size)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var status unix.WaitStatus
		if pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); err == nil && pid == h.PID {
			if status.ExitStatus() != 0 {
				return fmt.Errorf("the process ended with %v", status)
			}
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the process does not end")
		}
	}
}

func (g *guest) paths() []string {
	var all []string
	filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			all = append(all, p)
		}
		return nil
	})
	return all
}

// check reads files and compares their digests.
func (g *guest) check(paths []string) error {
	if len(paths) == 0 {
		return fmt.Errorf("no files")
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		rel, _ := filepath.Rel(root, p)
		if got := hex.EncodeToString(sum[:]); got != g.files[rel] {
			return fmt.Errorf("%s: digest %s, want %s", rel, got, g.files[rel])
		}
	}
	return nil
}

func (g *guest) dropCaches() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

func sys(h *rootdev.Handle, file string) string {
	data, _ := os.ReadFile("/sys/block/" + filepath.Base(h.Device) + "/" + file)
	return strings.TrimSpace(string(data))
}

// memory is what /proc says of the process.
func memory(h *rootdev.Handle) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.PID))
	var out []string
	for _, line := range bytes.Split(data, []byte("\n")) {
		for _, key := range []string{"VmRSS", "RssAnon", "VmLck", "Threads"} {
			if bytes.HasPrefix(line, []byte(key)) {
				out = append(out, strings.Join(strings.Fields(string(line)), " "))
			}
		}
	}
	return strings.Join(out, ", ")
}
