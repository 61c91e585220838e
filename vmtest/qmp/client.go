package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// maxMessage bounds one line from QEMU; the longest answers, of the query
// commands, stay far below.
const maxMessage = 4 << 20

// ErrClosed is returned for commands on a connection that has ended, as it does
// when QEMU exits.
var ErrClosed = errors.New("QMP connection is closed")

// Event is something QEMU reports unasked.
type Event struct {
	Name string          `json:"event"`
	At   time.Time       `json:"at"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Error is QEMU's refusal of a command.
type Error struct {
	Class       string `json:"class"`
	Description string `json:"desc"`
}

func (e *Error) Error() string { return e.Class + ": " + e.Description }

// Client sends commands. Its methods may be called by any goroutine.
type Client struct {
	conn    net.Conn
	onEvent func(Event)
	done    chan struct{}

	mu      sync.Mutex
	serial  uint64
	waiting map[uint64]chan reply
	err     error
}

type reply struct {
	Return json.RawMessage
	Error  *Error
}

// message is any line from QEMU.
type message struct {
	Greeting *json.RawMessage `json:"QMP"`
	ID       *uint64          `json:"id"`
	Return   json.RawMessage  `json:"return"`
	Error    *Error           `json:"error"`
	Event    string           `json:"event"`
	Data     json.RawMessage  `json:"data"`
	Time     timestamp        `json:"timestamp"`
}

type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

// New takes over conn, waits for QEMU's greeting and leaves its negotiation mode.
// onEvent, if not nil, is called for each event, in order; it must not block. The
// client's goroutine ends with the connection or Close.
func New(ctx context.Context, conn net.Conn, onEvent func(Event)) (*Client, error) {
	if onEvent == nil {
		onEvent = func(Event) {}
	}
	c := &Client{
		conn:    conn,
		onEvent: onEvent,
		done:    make(chan struct{}),
		waiting: make(map[uint64]chan reply),
	}
	greeted := make(chan struct{})
	go c.read(greeted)
	select {
	case <-greeted:
	case <-c.done:
		return nil, fmt.Errorf("QMP greeting: %w", c.err)
	case <-ctx.Done():
		c.Close()
		return nil, fmt.Errorf("QMP greeting: %w", ctx.Err())
	}
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// read handles what QEMU says until the connection ends.
func (c *Client) read(greeted chan<- struct{}) {
	defer close(c.done)
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, maxMessage)
	var err error
	for err == nil && lines.Scan() {
		var m message
		if err = json.Unmarshal(lines.Bytes(), &m); err != nil {
			err = fmt.Errorf("QMP message: %w", err)
			break
		}
		if m.Greeting != nil && greeted != nil {
			close(greeted)
			greeted = nil
		}
		c.handle(m)
	}
	if err == nil {
		err = lines.Err()
	}
	if err == nil || errors.Is(err, net.ErrClosed) {
		err = ErrClosed
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *Client) handle(m message) {
	switch {
	case m.Event != "":
		c.onEvent(Event{m.Event, time.Unix(m.Time.Seconds, m.Time.Microseconds*1000), m.Data})
	case m.ID != nil:
		c.mu.Lock()
		answer := c.waiting[*m.ID]
		delete(c.waiting, *m.ID)
		c.mu.Unlock()
		if answer != nil {
			answer <- reply{m.Return, m.Error}
		}
	}
}

// Execute sends a command and waits for its answer, which is decoded to result
// unless that is nil. A refusal is an *Error.
func (c *Client) Execute(ctx context.Context, command string, arguments, result any) error {
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.serial++
	id := c.serial
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}()

	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, arguments, id})
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("QMP %s: %w", command, errors.Join(ErrClosed, err))
	}
	var r reply
	select {
	case r = <-answer:
	case <-c.done:
		select {
		case r = <-answer: // the answer to quit comes with the end
		default:
			return fmt.Errorf("QMP %s: %w", command, c.err)
		}
	case <-ctx.Done():
		return fmt.Errorf("QMP %s: %w", command, ctx.Err())
	}
	if r.Error != nil {
		return fmt.Errorf("QMP %s: %w", command, r.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(r.Return, result); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	return nil
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection, not QEMU, and returns when the client's goroutine has ended.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
