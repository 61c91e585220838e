package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// memory is a Backend over a slice, in pieces of 1,000 bytes. A read at stuck waits for ctx or release.
type memory struct {
	data    []byte
	stuck   int64
	release chan struct{}
	broken  int64
}

func (m memory) Slices(ctx context.Context, off, n int64) ([][]byte, error) {
	if m.release != nil && off == m.stuck {
		select {
		case <-m.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if m.broken != 0 && off == m.broken {
		return nil, errors.New("will never be right")
	}
	var out [][]byte
	for end := off + n; off < end; off += 1000 {
		out = append(out, m.data[off:min(off+1000, end)])
	}
	return out, nil
}

// kernel is the other end of a device's socket.
type kernel struct {
	t    *testing.T
	conn net.Conn
}

// attach serves b to a fake kernel. wait ends the test's use of the device and returns what Serve returned.
func attach(t *testing.T, ctx context.Context, b Backend, size int64) (k kernel, wait func() error) {
	t.Helper()
	ends := socketPair(t)
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ends[0], size, b) }() // wait receives its end
	t.Cleanup(func() { ends[1].Close() })
	return kernel{t, ends[1]}, func() error {
		t.Helper()
		select {
		case err := <-done:
			return err
		case <-time.After(time.Minute):
			t.Fatal("Serve does not return")
			return nil
		}
	}
}

func socketPair(t *testing.T) (ends [2]net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return ends
}

func (k kernel) send(r request, payload []byte) {
	k.t.Helper()
	if _, err := k.conn.Write(append(r.encode(), payload...)); err != nil {
		k.t.Fatal(err)
	}
}

// receive reads one reply with n bytes of data if it is a success.
func (k kernel) receive(n int) (handle uint64, code uint32, data []byte) {
	k.t.Helper()
	k.conn.SetReadDeadline(time.Now().Add(time.Minute))
	head := make([]byte, replySize)
	if _, err := io.ReadFull(k.conn, head); err != nil {
		k.t.Fatal(err)
	}
	if magic := binary.BigEndian.Uint32(head); magic != replyMagic {
		k.t.Fatalf("magic %#x", magic)
	}
	code, handle = binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint64(head[8:])
	if code == errNone {
		data = make([]byte, n)
		if _, err := io.ReadFull(k.conn, data); err != nil {
			k.t.Fatal(err)
		}
	}
	return handle, code, data
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func TestServe(t *testing.T) {
	data := pattern(64 << 10)
	k, wait := attach(t, t.Context(), memory{data: data, broken: 4096}, int64(len(data)))

	k.send(request{command: cmdRead, handle: 1, offset: 8192, length: 12288}, nil)
	if h, code, got := k.receive(12288); h != 1 || code != errNone || !bytes.Equal(got, data[8192:20480]) {
		t.Errorf("read: handle %d, code %d, right bytes: %t", h, code, bytes.Equal(got, data[8192:20480]))
	}
	k.send(request{command: cmdWrite, handle: 2, offset: 0, length: 512}, make([]byte, 512))
	if h, code, _ := k.receive(0); h != 2 || code != errPerm {
		t.Errorf("write: handle %d, code %d, want %d", h, code, errPerm)
	}
	k.send(request{command: cmdRead, handle: 3, offset: 4096, length: 4096}, nil)
	if h, code, _ := k.receive(0); h != 3 || code != errIO {
		t.Errorf("damaged: handle %d, code %d, want %d", h, code, errIO)
	}
	k.send(request{command: cmdFlush, handle: 4}, nil)
	if h, code, _ := k.receive(0); h != 4 || code != errNone {
		t.Errorf("flush: handle %d, code %d", h, code)
	}
	k.send(request{command: cmdDisconnect}, nil)
	if err := wait(); err != nil {
		t.Errorf("after a disconnect: %v", err)
	}
}

// TestServeOvertakes has a read that waits for its source: others must not wait behind it.
func TestServeOvertakes(t *testing.T) {
	data := pattern(64 << 10)
	m := memory{data: data, stuck: 4096, release: make(chan struct{})}
	k, wait := attach(t, t.Context(), m, int64(len(data)))
	k.send(request{command: cmdRead, handle: 1, offset: 4096, length: 4096}, nil)
	k.send(request{command: cmdRead, handle: 2, offset: 0, length: 4096}, nil)
	if h, _, _ := k.receive(4096); h != 2 {
		t.Errorf("first reply is for %d, want 2", h)
	}
	close(m.release)
	if h, _, got := k.receive(4096); h != 1 || !bytes.Equal(got, data[4096:8192]) {
		t.Errorf("second reply is for %d, want 1 with its data", h)
	}
	k.conn.Close()
	if err := wait(); !errors.Is(err, io.EOF) {
		t.Errorf("after the kernel's end closed: %v, want EOF", err)
	}
}

func TestServeEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := memory{data: pattern(8192), stuck: 4096, release: make(chan struct{})}
	k, wait := attach(t, ctx, m, 8192)
	k.send(request{command: cmdRead, handle: 1, offset: 4096, length: 4096}, nil)
	k.send(request{command: cmdRead, handle: 2, offset: 0, length: 4096}, nil)
	k.receive(4096) // both are in work now
	cancel()
	if err := wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestServeGarbage(t *testing.T) {
	k, wait := attach(t, t.Context(), memory{data: pattern(4096)}, 4096)
	if _, err := k.conn.Write(pattern(requestSize)); err != nil {
		t.Fatal(err)
	}
	if err := wait(); !errors.Is(err, errProtocol) {
		t.Errorf("got %v, want errProtocol", err)
	}
}

func FuzzServe(f *testing.F) {
	f.Add(request{command: cmdRead, handle: 1, offset: 0, length: 4096}.encode())
	f.Add(append(request{command: cmdWrite, length: 8}.encode(), request{command: cmdFlush}.encode()...))
	f.Add(request{command: cmdDisconnect}.encode())
	data := pattern(64 << 10)
	f.Fuzz(func(t *testing.T, stream []byte) {
		near, far := net.Pipe()
		go func() { // ends when the pipe is closed below
			far.Write(stream)
			far.Close()
		}()
		go io.Copy(io.Discard, far) // as above
		if err := Serve(t.Context(), near, int64(len(data)), memory{data: data}); err == nil && len(stream) < requestSize {
			t.Error("a stream without a request ended well")
		}
	})
}
