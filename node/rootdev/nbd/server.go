package nbd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Backend is what a device's bytes come from.
type Backend interface {
	// Slices gives the n bytes from offset off, in order, in one or several pieces, which must never change
	// afterwards. It blocks until it has them. An error makes the read fail for good, EIO in whatever program asked,
	// so an error is for data that will never be right, not for data that is late. When ctx ends it returns soon,
	// and what it returns is not used. Many calls run at once.
	Slices(ctx context.Context, off, n int64) ([][]byte, error)
}

// maxRequests bounds the requests in work: the kernel has 128 tags for a device (nbd.c, queue_depth), so none waits
// here behind another one that waits for a source.
const maxRequests = 128

// Serve answers the kernel's requests on conn for a read-only device of size bytes. It blocks until the kernel
// disconnects (nil), conn fails, or ctx ends; then it closes conn and returns when the requests in work have ended.
func Serve(ctx context.Context, conn net.Conn, size int64, backend Backend) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &server{conn: conn, size: size, backend: backend, slots: make(chan struct{}, maxRequests)}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // ends the read below
	err := s.run(ctx)
	cancel()
	if stop() {
		conn.Close()
	}
	s.work.Wait()
	return err
}

type server struct {
	conn    net.Conn
	size    int64
	backend Backend
	slots   chan struct{}
	work    sync.WaitGroup

	write sync.Mutex // one reply at a time; holds for failed too
}

// run reads requests until the stream ends.
func (s *server) run(ctx context.Context) error {
	in := bufio.NewReaderSize(s.conn, 4<<10) // requests are small, and many come at once
	var head [requestSize]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("nbd: read a request: %w", err)
		}
		r, err := parseRequest(head[:])
		if err != nil {
			return err
		}
		if r.command == cmdDisconnect {
			return nil
		}
		if r.command == cmdWrite {
			if _, err := io.CopyN(io.Discard, in, int64(r.length)); err != nil {
				return fmt.Errorf("nbd: read a write's data: %w", err)
			}
		}
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.work.Go(func() { // ends with its request or with ctx; Serve waits
			defer func() { <-s.slots }()
			s.answer(ctx, r)
		})
	}
}

// answer does one request and sends its reply. A reply that cannot be sent closes the connection: the kernel would
// read the next one in its middle.
func (s *server) answer(ctx context.Context, r request) {
	code := r.refusal(s.size)
	var data [][]byte
	if code == errNone && r.command == cmdRead && r.length > 0 {
		var err error
		if data, err = s.backend.Slices(ctx, int64(r.offset), int64(r.length)); err != nil {
			code, data = errIO, nil
		}
	}
	if ctx.Err() != nil {
		return
	}
	out := make(net.Buffers, 1, 1+len(data))
	out[0] = appendReply(make([]byte, 0, replySize), r.handle, code)
	out = append(out, data...)
	s.write.Lock()
	defer s.write.Unlock()
	if _, err := out.WriteTo(s.conn); err != nil && !errors.Is(err, net.ErrClosed) {
		s.conn.Close()
	}
}
