package rootdev

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/rootdev/nbd"
	"masthead/node/wire"
)

func TestMain(m *testing.M) {
	if os.Args[0] == ProcessName { // started by Start
		if err := Process(context.Background()); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// fakeKernel takes sockets as the kernel does and reads the device through them.
type fakeKernel struct {
	refuse error

	mu    sync.Mutex
	conn  net.Conn
	socks int
	size  int64
}

func (k *fakeKernel) take(fd int) error {
	dup, err := unix.Dup(fd) // sockfd_lookup
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(dup), "kernel")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		k.conn.Close()
	}
	k.conn = conn
	k.socks++
	return nil
}

func (k *fakeKernel) Connect(fd int, size int64) (nbd.Device, error) {
	if k.refuse != nil {
		return 0, k.refuse
	}
	k.size = size
	return 7, k.take(fd)
}

func (k *fakeKernel) Reconnect(_ nbd.Device, fd int) error { return k.take(fd) }
func (k *fakeKernel) Tune(nbd.Device) error                { return nil }

// Disconnect says NBD_CMD_DISC and closes, as the kernel does.
func (k *fakeKernel) Disconnect(nbd.Device) error {
	c := k.socket()
	header := make([]byte, 28)
	binary.BigEndian.PutUint32(header, 0x25609513)
	binary.BigEndian.PutUint16(header[6:], 2)
	if _, err := c.Write(header); err != nil {
		return err
	}
	return c.Close()
}

func (k *fakeKernel) socket() net.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.conn
}

// read reads the device as the kernel does.
func (k *fakeKernel) read(off int64, n int) ([]byte, error) {
	c := k.socket()
	h := binary.BigEndian.AppendUint32(nil, 0x25609513)
	h = binary.BigEndian.AppendUint32(h, 0)
	h = binary.BigEndian.AppendUint64(h, 42)
	h = binary.BigEndian.AppendUint64(h, uint64(off))
	h = binary.BigEndian.AppendUint32(h, uint32(n))
	if _, err := c.Write(h); err != nil {
		return nil, err
	}
	out := make([]byte, 16+n)
	if _, err := io.ReadFull(c, out[:16]); err != nil {
		return nil, err
	}
	if code := binary.BigEndian.Uint32(out[4:]); code != 0 {
		return nil, unix.Errno(code)
	}
	_, err := io.ReadFull(c, out[16:])
	return out[16:], err
}

// sealed is an image in a store.
type sealed struct {
	root     []byte
	manifest []byte
	digest   images.Digest
	dir      string
	pack     *os.File
}

func seal(t testing.TB, size int) sealed {
	t.Helper()
	root := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(root)
	for i := range root {
		root[i] &= 0x1f // so that it compresses
	}
	return sealBytes(t, root, 32<<10)
}

// sealBytes seals a root of those bytes.
func sealBytes(t testing.TB, data []byte, chunk int) sealed {
	t.Helper()
	s := sealed{root: data, dir: t.TempDir()}
	store, err := images.OpenStore(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) images.Blob {
		b, err := store.PutBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	root := images.Root{Size: int64(len(data)), ChunkSize: int64(chunk)}
	for off := 0; off < len(data); off += chunk {
		b := put(enc.EncodeAll(data[off:min(off+chunk, len(data))], nil))
		root.Chunks = append(root.Chunks, images.Chunk(b))
	}
	m := images.Manifest{Format: images.ManifestFormat, Name: "w", Role: images.RoleWorker, Arch: "amd64",
		Kernel: put([]byte("kernel")), Initramfs: put([]byte("initramfs")), Root: root}
	if s.manifest, s.digest, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	put(s.manifest)
	plan, err := images.PlanPack(store, map[string]images.Digest{"w": s.digest})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := plan.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if s.pack, err = os.Create(filepath.Join(t.TempDir(), "pack")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.pack.Close() })
	if _, err := io.Copy(s.pack, stream); err != nil {
		t.Fatal(err)
	}
	return s
}

// running is a Run under way.
type running struct {
	t       *testing.T
	kernel  *fakeKernel
	control Control
	cancel  context.CancelFunc
	done    chan error
}

// run starts Run and waits until the device is there.
func run(t *testing.T, c Config) running {
	t.Helper()
	r := running{t: t, kernel: &fakeKernel{}, done: make(chan error, 1)}
	ready := make(chan string, 1)
	c.Control = filepath.Join(t.TempDir(), "rootd.sock")
	c.Kernel = r.kernel
	progress := c.Progress
	c.Progress = func(p Progress) error {
		if p.Device != "" {
			ready <- p.Device
		}
		if progress != nil {
			return progress(p)
		}
		return nil
	}
	r.control = Dial(c.Control)
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.done <- Run(ctx, c) }() // wait receives its end
	t.Cleanup(cancel)
	select {
	case dev := <-ready:
		want := "/dev/nbd7"
		if c.TakeOver != "" {
			want = c.TakeOver
		}
		if dev != want {
			t.Errorf("device %s, want %s", dev, want)
		}
	case err := <-r.done:
		t.Fatalf("Run: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("no device")
	}
	return r
}

func (r running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(time.Minute):
		r.t.Fatal("Run does not return")
		return nil
	}
}

func (r running) mustRead(s sealed, off, n int) {
	r.t.Helper()
	got, err := r.kernel.read(int64(off), n)
	if err != nil || !bytes.Equal(got, s.root[off:off+n]) {
		r.t.Errorf("read of %d at %d: %v, right bytes: %t", n, off, err, bytes.Equal(got, s.root[off:off+n]))
	}
}

func TestRun(t *testing.T) {
	s := seal(t, 300<<10)
	for _, test := range []struct {
		name string
		c    Config
	}{
		{"store", Config{Store: s.dir}},
		{"pack", Config{Pack: s.pack}},
		{"ram", Config{Pack: s.pack, Mode: images.RootRAM}},
		{"take over", Config{Store: s.dir, TakeOver: "/dev/nbd3"}},
		{"disk", Config{Store: s.dir, Disk: t.TempDir(), DiskBound: 1 << 20}},
		{"disk that is not there", Config{Store: s.dir, Disk: "/nowhere", DiskBound: 1 << 20}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.c.Image, test.c.Manifest = s.digest, s.manifest
			r := run(t, test.c)
			r.mustRead(s, 0, 4096)
			r.mustRead(s, 30<<10, 100<<10)
			r.mustRead(s, 300<<10-4096, 4096)
			if test.c.TakeOver == "" && r.kernel.size != 300<<10 {
				t.Errorf("the device has %d bytes", r.kernel.size)
			}
			r.cancel()
			if err := r.wait(); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	s := seal(t, 64<<10)
	good := Config{Image: s.digest, Manifest: s.manifest, Store: s.dir, Kernel: &fakeKernel{}}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"another image's manifest", func(c *Config) { c.Image = images.DigestOf(nil) }, "digest is"},
		{"no source", func(c *Config) { c.Store = "" }, "no head, pack or store"},
		{"a mode that is none", func(c *Config) { c.Mode = "quick" }, `mode "quick"`},
		{"a device that is none", func(c *Config) { c.TakeOver = "/dev/sda" }, "not a network block device"},
		{"ram that is not there", func(c *Config) { c.Mode, c.Memory = images.RootRAM, 192<<20 }, "boot with root=lazy"},
		{"a kernel without nbd", func(c *Config) { c.Kernel = &fakeKernel{refuse: errors.New("load the module nbd")} }, "load the module nbd"},
		{"a control socket in no directory", func(c *Config) { c.Control = "/nowhere/rootd.sock" }, "control socket"},
		{"a pack that is none", func(c *Config) {
			f, err := os.Open("run_test.go")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			c.Pack = f
		}, "not a masthead pack"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			if err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestControl(t *testing.T) {
	s := seal(t, 300<<10)
	r := run(t, Config{Image: s.digest, Manifest: s.manifest, Heads: Heads{Heads: []wire.Head{{URL: "https://127.0.0.1:9"}}}})
	ctx := t.Context()

	// Nothing answers: the read waits, and both status and events say so.
	read := make(chan error, 1)
	go func() { // received below
		got, err := r.kernel.read(0, 4096)
		if err == nil && !bytes.Equal(got, s.root[:4096]) {
			err = errors.New("wrong bytes")
		}
		read <- err
	}()
	watching, enough := context.WithCancel(ctx)
	defer enough()
	told := make(chan string, 10)
	watched := make(chan error, 1)
	go func() { watched <- r.control.Watch(watching, func(e wire.Event) { told <- e.Text }) }() // received below
	if got := <-told; !strings.Contains(got, "no source of the root answers") || !strings.Contains(got, "connection refused") {
		t.Errorf("told %q", got)
	}
	st, err := r.control.Status(ctx)
	if err != nil || st.Waiting < 0.5 || st.Source != "" || st.Image != string(s.digest) || st.Chunks != 10 || st.Errors == 0 {
		t.Errorf("status %+v, %v", st, err)
	}
	select {
	case err := <-read:
		t.Fatalf("the read ended: %v", err)
	default:
	}
	// Late listeners hear of what has been.
	late, enoughLate := context.WithCancel(ctx)
	if err := r.control.Watch(late, func(wire.Event) { enoughLate() }); !errors.Is(err, context.Canceled) {
		t.Errorf("watch: %v", err)
	}

	// Another head comes.
	head := newHead(t, s, "secret")
	if err := r.control.SetHeads(ctx, Heads{Heads: []wire.Head{{URL: head.url}}, CA: head.ca, Token: "secret"}); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	if got := <-told; !strings.Contains(got, "come again, from "+head.url) {
		t.Errorf("told %q", got)
	}
	// Chunks that are fetched ahead waited as well, and may still be on their way.
	for deadline := time.Now().Add(time.Minute); st.Waiting != 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if st, err = r.control.Status(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if st.Waiting != 0 || st.Source != head.url || st.BytesFetched == 0 {
		t.Errorf("status %+v", st)
	}
	if _, err := r.control.ask(ctx, request{Op: "reboot"}); err == nil || !strings.Contains(err.Error(), "want status") {
		t.Errorf("an unknown request: %v", err)
	}

	if err := r.control.Drop(ctx); err != nil {
		t.Errorf("drop: %v", err)
	}
	if err := r.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := <-watched; err == nil {
		t.Error("the watch outlived the process")
	}
	if _, err := r.control.Status(ctx); err == nil {
		t.Error("somebody answers after the end")
	}
}

// TestSocketBreaks has the kernel lose its socket without being asked to detach.
func TestSocketBreaks(t *testing.T) {
	s := seal(t, 64<<10)
	r := run(t, Config{Image: s.digest, Manifest: s.manifest, Store: s.dir})
	r.mustRead(s, 0, 4096)
	r.kernel.socket().Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		r.kernel.mu.Lock()
		n := r.kernel.socks
		r.kernel.mu.Unlock()
		if n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no other socket came")
		}
	}
	r.mustRead(s, 4096, 8192)
	r.cancel()
	if err := r.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRAMProgress(t *testing.T) {
	s := seal(t, 300<<10)
	var mu sync.Mutex
	var last Progress
	r := run(t, Config{Image: s.digest, Manifest: s.manifest, Pack: s.pack, Mode: images.RootRAM, Progress: func(p Progress) error {
		mu.Lock()
		defer mu.Unlock()
		if p.Device == "" {
			last = p
		}
		return nil
	}})
	mu.Lock()
	if last.Present != 10 || last.Chunks != 10 {
		t.Errorf("last progress %+v", last)
	}
	mu.Unlock()
	s.pack.Close() // not needed any more
	r.mustRead(s, 0, 300<<10)
	r.cancel()
	r.wait()
}

// TestStart starts the real process. The kernel that tests run on has no nbd, so its refusal has to come through; where
// there is one, the device does.
func TestStart(t *testing.T) {
	s := seal(t, 64<<10)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var progress []Progress
	h, err := Start(t.Context(), exe, Config{
		Image: s.digest, Manifest: s.manifest, Pack: s.pack, Mode: images.RootRAM,
		Control:  filepath.Join(t.TempDir(), "rootd.sock"),
		Progress: func(p Progress) error { progress = append(progress, p); return nil },
	})
	if len(progress) == 0 {
		t.Error("no progress came")
	}
	if err == nil {
		if err := h.Control.Drop(t.Context()); err != nil {
			t.Error(err)
		}
		return
	}
	if !strings.Contains(err.Error(), "load the module nbd") && !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}

	if _, err := Start(t.Context(), "/bin/true", Config{Image: s.digest, Manifest: s.manifest, Store: s.dir}); err == nil ||
		!strings.Contains(err.Error(), "ended at once") {
		t.Errorf("a program that does nothing: %v", err)
	}
	if _, err := Start(t.Context(), "/nowhere", Config{Image: s.digest, Manifest: s.manifest, Store: s.dir}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
	// Loading waits for a head that is not there; the boot gives up.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = Start(ctx, exe, Config{Image: s.digest, Manifest: s.manifest, Mode: images.RootRAM,
		Heads: Heads{Heads: []wire.Head{{URL: "https://127.0.0.1:9"}}}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a source: %v", err)
	}
}

func FuzzControl(f *testing.F) {
	f.Add([]byte(`{"op":"status"}`))
	f.Add([]byte(`{"op":"heads","heads":{"heads":[{"name":"a","url":"https://10.0.0.1"}],"token":"t"}}`))
	f.Add([]byte(`{"op":"heads"}`))
	f.Add([]byte(`{`))
	s := seal(f, 32<<10)
	d := &device{config: Config{Image: s.digest, Manifest: s.manifest, Store: s.dir, Memory: 1 << 30}, events: newEventLog(nil)}
	m, err := d.config.validate()
	if err != nil {
		f.Fatal(err)
	}
	d.root = m.Root
	if err := d.open(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(d.close)
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("drop")) || bytes.Contains(data, []byte("watch")) {
			return // end with the device
		}
		near, far := net.Pipe()
		go func() { // ends when the pipe is closed
			far.Write(data)
			far.Close()
		}()
		go io.Copy(io.Discard, far) // as above
		d.call(t.Context(), near)
		near.Close()
	})
}

// TestControlSocketsChangePlaces holds what a soft reboot does: the next server's socket takes the name of the one before,
// whose end must not remove it.
func TestControlSocketsChangePlaces(t *testing.T) {
	dir := t.TempDir()
	usual, next := filepath.Join(dir, "rootd.sock"), filepath.Join(dir, "next.sock")
	var before net.Listener
	for range 3 {
		path := next
		if before == nil {
			path = usual
		}
		l, err := listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if before != nil {
			before.Close()
			if err := os.Rename(next, usual); err != nil {
				t.Fatal(err)
			}
		}
		conn, err := net.Dial("unix", usual)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		before = l
	}
	before.Close()
	if _, err := Dial(usual).Status(t.Context()); !Gone(err) {
		t.Errorf("a server that has ended: %v", err)
	}
}
