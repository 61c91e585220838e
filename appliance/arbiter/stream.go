package arbiter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The first byte on a connection says what it is for.
const (
	forRaft = 'r'
	forWish = 'w' // a byte with the length, and the name of a head that wants to lead; the answer is a byte
)

// wishTime bounds what a connection may take to say what it is for.
const wishTime = 2 * time.Second

// stream carries raft over mutual TLS. It closes what it has opened and accepted: raft would leave the latter to the others.
type stream struct {
	net.Listener
	addr net.Addr // where others reach it
	dial func(head string) (*tls.Config, error)
	// name is the head at an address.
	name func(addr string) (string, bool)
	wish func(head string) bool
	// network opens a TCP connection.
	network func(ctx context.Context, addr string) (net.Conn, error)

	ready chan net.Conn
	done  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	shut  bool
}

func (s *stream) start() {
	s.ready, s.done, s.conns = make(chan net.Conn), make(chan struct{}), map[net.Conn]struct{}{}
	s.wg.Go(func() {
		for {
			c, err := s.Listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // too many open files, say: the next one may do better
				select {
				case <-time.After(100 * time.Millisecond):
				case <-s.done:
				}
				continue
			}
			if c = s.track(c); c != nil {
				s.wg.Go(func() { s.greet(c) })
			}
		}
	})
}

// greet waits for a connection to say what it is for, out of the way of the others.
func (s *stream) greet(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(wishTime))
	var b [1]byte
	if _, err := c.Read(b[:]); err != nil {
		c.Close()
		return
	}
	switch b[0] {
	case forRaft:
		_ = c.SetDeadline(time.Time{})
		select {
		case s.ready <- c:
		case <-s.done:
			c.Close()
		}
		return
	case forWish:
		s.hear(c)
	}
	c.Close()
}

// hear hears a wish.
func (s *stream) hear(c net.Conn) {
	var b [256]byte
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return
	}
	name := b[1 : 1+int(b[0])]
	if _, err := io.ReadFull(c, name); err != nil {
		return
	}
	answer := byte(0)
	if s.wish(string(name)) {
		answer = 1
	}
	_, _ = c.Write([]byte{answer})
}

// Accept gives raft its connections.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Addr is where the other heads reach this one, which need not be where it listens.
func (s *stream) Addr() net.Addr { return s.addr }

// Close ends everything, and returns when nothing runs any more.
func (s *stream) Close() error {
	s.mu.Lock()
	if s.shut {
		s.mu.Unlock()
		return nil
	}
	s.shut = true
	close(s.done)
	err := s.Listener.Close()
	for c := range s.conns {
		c.(*tracked).Conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// Dial opens a connection for raft.
func (s *stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := s.open(ctx, string(addr))
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{forRaft}); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// tell tells the head at addr that this one wants to lead, and gives what it answered.
func (s *stream) tell(ctx context.Context, addr, self string) (bool, error) {
	c, err := s.open(ctx, addr)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	if _, err := c.Write(append([]byte{forWish, byte(len(self))}, self...)); err != nil {
		return false, err
	}
	var b [1]byte
	_, err = c.Read(b[:])
	return b[0] == 1, err
}

func (s *stream) open(ctx context.Context, addr string) (net.Conn, error) {
	name, ok := s.name(addr)
	if !ok {
		return nil, fmt.Errorf("no head is known at %s", addr)
	}
	config, err := s.dial(name)
	if err != nil {
		return nil, err
	}
	plain, err := s.network(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := tls.Client(plain, config)
	if err := c.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	if t := s.track(c); t != nil {
		return t, nil
	}
	return nil, net.ErrClosed
}

// track notes a connection until it is closed; nil: the stream is closed, and so is the connection.
func (s *stream) track(c net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		c.Close()
		return nil
	}
	t := &tracked{Conn: c, stream: s}
	s.conns[t] = struct{}{}
	return t
}

type tracked struct {
	net.Conn
	stream *stream
}

func (t *tracked) Close() error {
	t.stream.mu.Lock()
	delete(t.stream.conns, t)
	t.stream.mu.Unlock()
	return t.Conn.Close()
}
