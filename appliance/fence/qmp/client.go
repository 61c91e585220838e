package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// maxLine bounds one message; the answers used here are below 1 KiB, unasked events may be longer.
const maxLine = 1 << 20

// conn is one QMP connection, with one command under way at a time.
type conn struct {
	net.Conn
	lines *bufio.Scanner
	id    uint64
}

// message is any line from QEMU.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	ID       *uint64         `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *refusal        `json:"error"`
}

// refusal is QEMU's error.
type refusal struct {
	Class       string `json:"class"`
	Description string `json:"desc"`
}

func (r *refusal) Error() string { return r.Class + ": " + r.Description }

// dial connects, waits for the greeting and leaves the negotiation mode. The connection ends with ctx: the returned
// function must be called when it is not needed any more.
func dial(ctx context.Context, network, address string) (*conn, func(), error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, nil, fmt.Errorf("QMP: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	end := func() { stop(); nc.Close() }
	c := newConn(nc)
	if err = c.greet(); err == nil {
		err = c.execute("qmp_capabilities", nil)
	}
	if err != nil {
		end()
		return nil, nil, because(ctx, err)
	}
	return c, end, nil
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc, lines: bufio.NewScanner(nc)}
	c.lines.Buffer(nil, maxLine)
	return c
}

// greet waits for the greeting. QEMU serves one client at a time, and lets a second one connect and wait.
func (c *conn) greet() error {
	m, err := c.read()
	if err != nil {
		return fmt.Errorf("QMP greeting: %w", err)
	}
	if m.Greeting == nil {
		return errors.New("QMP greeting: this is not QMP")
	}
	return nil
}

func (c *conn) read() (message, error) {
	var m message
	if !c.lines.Scan() {
		if err := c.lines.Err(); err != nil {
			return m, err
		}
		return m, errors.New("QEMU closed the connection")
	}
	return m, json.Unmarshal(c.lines.Bytes(), &m)
}

// execute sends one command and waits for its own answer; events are passed over.
func (c *conn) execute(command string, result any) error {
	c.id++
	if _, err := fmt.Fprintf(c, "{\"execute\": %q, \"id\": %d}\n", command, c.id); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	for {
		m, err := c.read()
		switch {
		case err != nil:
			return fmt.Errorf("QMP %s: %w", command, err)
		case m.Error != nil && (m.ID == nil || *m.ID == c.id): // without an id: QEMU could not parse what we sent
			return fmt.Errorf("QMP %s: %w", command, m.Error)
		case m.ID == nil || *m.ID != c.id:
			continue
		case m.Return == nil:
			return fmt.Errorf("QMP %s: neither a result nor an error", command)
		case result == nil:
			return nil
		}
		if err := json.Unmarshal(m.Return, result); err != nil {
			return fmt.Errorf("QMP %s: %w", command, err)
		}
		return nil
	}
}

// because prefers the end of ctx to the error that it made of the connection.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	return err
}
