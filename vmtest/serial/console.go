package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"masthead/vmtest/plug"
)

// ErrNotConnected is returned for typing on a machine that is off.
var ErrNotConnected = errors.New("machine is off")

// typeWithin bounds the wait for a guest that does not read its console.
const typeWithin = 5 * time.Second

// Console is the lab's end of a machine's console port. All methods may be called
// at any time, by any goroutine.
type Console struct {
	*Transcript
	reader *Reader
	socket *plug.Socket
	log    *os.File

	mu      sync.Mutex
	conn    net.Conn
	drained chan struct{} // closed while no machine is connected
	viewers map[*viewer]struct{}
	closed  bool
}

// ListenConsole takes the machine that connects at path and logs its lines, with
// times, at the end of the file logPath.
func ListenConsole(path, logPath string) (*Console, error) {
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("console log: %w", err)
	}
	c := &Console{
		Transcript: NewTranscript(log),
		log:        log,
		drained:    make(chan struct{}),
		viewers:    make(map[*viewer]struct{}),
	}
	close(c.drained)
	c.reader = c.Transcript.Reader()
	if c.socket, err = plug.Listen(path, c.serve); err != nil {
		log.Close()
		return nil, fmt.Errorf("console: %w", err)
	}
	return c, nil
}

// Expect is Reader.Expect with the console's own place: each call goes on behind
// the last one's match.
func (c *Console) Expect(ctx context.Context, pattern string) ([]string, error) {
	return c.reader.Expect(ctx, pattern)
}

// serve reads a machine's console until it is off.
func (c *Console) serve(conn net.Conn) {
	drained := make(chan struct{})
	c.mu.Lock()
	c.conn, c.drained = conn, drained
	c.mu.Unlock()
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			c.said(buffer[:n])
		}
		if err != nil {
			break
		}
	}
	c.mu.Lock()
	c.conn = nil
	c.mu.Unlock()
	close(drained)
}

// said records b and shows it to the viewers, in one: who attaches meanwhile sees
// it once, in the transcript or after it.
func (c *Console) said(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Transcript.Write(b)
	c.show(b)
}

// Drained is closed when all that the last machine said is in the transcript.
func (c *Console) Drained() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drained
}

// Type sends keys to the machine. It waits at most a few seconds for a guest that
// does not read them.
func (c *Console) Type(keys string) error {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("type on console: %w", ErrNotConnected)
	}
	conn.SetWriteDeadline(time.Now().Add(typeWithin))
	if _, err := io.WriteString(conn, keys); err != nil {
		return fmt.Errorf("type on console: %w", err)
	}
	return nil
}

// Close drops the machine and the viewers and returns when all goroutines have ended.
func (c *Console) Close() error {
	err := c.socket.Close()
	c.mu.Lock()
	c.closed = true
	for v := range c.viewers {
		v.end()
	}
	c.mu.Unlock()
	c.End(net.ErrClosed)
	return errors.Join(err, c.LogError(), c.log.Close())
}
