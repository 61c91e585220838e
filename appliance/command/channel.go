package command

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"masthead/node/wire"
)

// writeTimeout is for a frame to a machine: one that does not take it is dead or cut off.
const writeTimeout = 10 * time.Second

// channel is the connection of one machine's agent.
type channel struct {
	mac  string
	conn net.Conn
	gone chan struct{} // closed when nothing comes any more

	write sync.Mutex

	mu    sync.Mutex
	heard time.Time
	jobs  map[string]*job
}

// Attach serves the command channel of the machine with that MAC until the connection ends; it closes conn. in is what
// frames are read from: conn, or what buffers it. list is HeadList of the list of heads that the machine has.
func (d *Dispatcher) Attach(mac, list string, conn net.Conn, in io.Reader) error {
	c := &channel{mac: mac, conn: conn, gone: make(chan struct{}), jobs: map[string]*job{}, heard: time.Now()}
	d.attach(c)
	defer close(c.gone)
	defer d.detach(c)
	for {
		if err := c.send(d.pong(mac, list)); err != nil {
			return err
		}
		f, err := c.next(in)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("command channel of %s: %w", mac, err)
		}
		list = f.List
	}
}

// next takes frames for the commands that run, up to a ping.
func (c *channel) next(in io.Reader) (wire.Frame, error) {
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(wire.ChannelSilence)); err != nil {
			return wire.Frame{}, err
		}
		f, err := wire.ReadFrame(in, wire.MaxMachineFrame)
		if err != nil {
			return f, err
		}
		c.mu.Lock()
		c.heard = time.Now()
		j := c.jobs[f.ID]
		c.mu.Unlock()
		switch f.Kind {
		case wire.FramePing:
			return f, nil
		case wire.FrameOutput, wire.FrameExit:
			// Nobody waits for a command that was given up; its last words are dropped.
			if j != nil && !j.put(f) {
				return f, errors.New("more output than was granted")
			}
		}
	}
}

// pong answers a sign of life, with the list of heads if the machine has another.
func (d *Dispatcher) pong(mac, list string) wire.Frame {
	f := wire.Frame{Kind: wire.FramePong}
	if d.conf.Vote != nil {
		f.Vote = d.conf.Vote(mac)
	}
	if d.conf.Heads == nil {
		return f
	}
	if heads := d.conf.Heads(mac); len(heads) > 0 && wire.HeadList(heads) != list {
		f.Heads = heads
	}
	return f
}

func (c *channel) silence() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.heard)
}

// send writes a frame. A connection that does not take it is closed.
func (c *channel) send(f wire.Frame) error {
	c.write.Lock()
	defer c.write.Unlock()
	err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		err = wire.WriteFrame(c.conn, f)
	}
	if err != nil {
		c.close()
		return fmt.Errorf("command channel of %s: %w", c.mac, err)
	}
	return nil
}

// close ends the connection, and with it Attach.
func (c *channel) close() { _ = c.conn.Close() }

// begin enters a command, so that its frames find it.
func (c *channel) begin(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs[j.id] = j
}

func (c *channel) end(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.jobs, j.id)
}
