package plug

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// maxPath is the longest path a unix socket can be bound to: sun_path has 108
// bytes with its terminating NUL (unix(7)).
const maxPath = 107

// Socket is a listening unix socket that takes one device at a time.
type Socket struct {
	listener net.Listener
	done     sync.WaitGroup

	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

// Listen binds path and calls serve for each connection, one after the other, in
// a goroutine that Close ends. The connection is closed when serve returns, and
// under serve when the socket is closed.
func Listen(path string, serve func(net.Conn)) (*Socket, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("socket %s: path has %d bytes, the kernel takes %d", path, len(path), maxPath)
	}
	// The local bind ends at once; there is nothing for a context to cancel.
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	s := &Socket{listener: listener}
	s.done.Go(func() { s.accept(serve) })
	return s, nil
}

func (s *Socket) accept(serve func(net.Conn)) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed; a unix listener has no other lasting failure
		}
		if !s.hold(conn) {
			conn.Close()
			return
		}
		serve(conn)
		s.hold(nil)
		conn.Close()
	}
}

// hold makes conn the one that Close will close. It reports false after Close.
func (s *Socket) hold(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	return !s.closed
}

// Close removes the socket, drops the device on it and returns when serve has returned.
func (s *Socket) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.conn != nil {
		s.conn.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.done.Wait()
	return err
}
