package rootdev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"masthead/node/wire"
)

// Limits of the control socket.
const (
	controlTimeout = 10 * time.Second // for a request and its answer
	maxControl     = 1 << 20          // bytes of a request
)

// Operations of the control socket.
const (
	opStatus = "status"
	opHeads  = "heads"
	opDrop   = "drop"
	opWatch  = "watch"
)

// request is the one JSON value that a connection to the control socket begins with.
type request struct {
	Op    string `json:"op"`
	Heads *Heads `json:"heads,omitempty"` // of opHeads
}

// reply is what comes back: one, or for opWatch one for each event.
type reply struct {
	Error  string           `json:"error,omitempty"`
	Status *wire.RootStatus `json:"status,omitempty"`
	Event  *wire.Event      `json:"event,omitempty"`
}

// listen opens the control socket, in the place of one whose process died. Only root may connect.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("root device: control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("root device: control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("root device: control socket: %w", err)
	}
	return l, nil
}

// control answers requests on l until ctx ends, closes l, and returns when the requests under way have ended.
func (d *device) control(ctx context.Context, l net.Listener) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Too many open files, most likely; the device is worth more than its control.
			d.events.say("control socket: %v", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		calls.Go(func() { // ends with its request or, watching, with ctx
			defer conn.Close()
			d.call(ctx, conn)
		})
	}
}

// call answers one request.
func (d *device) call(ctx context.Context, conn net.Conn) {
	conn.SetDeadline(time.Now().Add(controlTimeout))
	var req request
	out := json.NewEncoder(conn) // a caller that has gone misses the answer
	if err := json.NewDecoder(io.LimitReader(conn, maxControl)).Decode(&req); err != nil {
		out.Encode(reply{Error: "request: " + err.Error()})
		return
	}
	switch req.Op {
	case opStatus:
		st := d.status()
		out.Encode(reply{Status: &st})
	case opHeads:
		if req.Heads == nil {
			out.Encode(reply{Error: "heads: none given"})
			return
		}
		d.setHeads(*req.Heads)
		out.Encode(reply{})
	case opDrop:
		d.drop()
		<-d.detached
		if d.detachErr != nil {
			out.Encode(reply{Error: d.detachErr.Error()})
			return
		}
		out.Encode(reply{})
	case opWatch:
		d.watch(ctx, conn, out)
	default:
		out.Encode(reply{Error: fmt.Sprintf("request %q: want status, heads, drop or watch", req.Op)})
	}
}

// watch sends events until ctx ends or the other side does not take them.
func (d *device) watch(ctx context.Context, conn net.Conn, out *json.Encoder) {
	kept, next, leave := d.events.listen()
	defer leave()
	gone := make(chan struct{})
	conn.SetReadDeadline(time.Time{})
	go func() { // ends when the other side closes, or with the conn
		defer close(gone)
		io.Copy(io.Discard, conn)
	}()
	defer func() { conn.Close(); <-gone }()
	send := func(e wire.Event) error {
		conn.SetWriteDeadline(time.Now().Add(controlTimeout))
		return out.Encode(reply{Event: &e})
	}
	for _, e := range kept {
		if send(e) != nil {
			return
		}
	}
	for {
		select {
		case e := <-next:
			if send(e) != nil {
				return
			}
		case <-gone:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Control speaks to the process of a root device by its control socket. Each call is a connection of its own; a call
// blocks until it is answered, ctx ends, or 10 seconds have passed.
type Control struct{ path string }

// Dial gives the Control of the socket at path, normally images.RootdSocket. It does not connect.
func Dial(path string) Control { return Control{path} }

// Status is how the root device stands.
func (c Control) Status(ctx context.Context) (wire.RootStatus, error) {
	r, err := c.ask(ctx, request{Op: opStatus})
	if err != nil || r.Status == nil {
		return wire.RootStatus{}, err
	}
	return *r.Status, nil
}

// SetHeads has other heads, or another token, used from now on.
func (c Control) SetHeads(ctx context.Context, h Heads) error {
	_, err := c.ask(ctx, request{Op: opHeads, Heads: &h})
	return err
}

// Drop detaches the device and ends its process. Whatever still reads the device gets errors.
func (c Control) Drop(ctx context.Context) error {
	_, err := c.ask(ctx, request{Op: opDrop})
	return err
}

// Watch calls fn with the last events that have been and with each that comes. It blocks until ctx ends or the
// process does.
func (c Control) Watch(ctx context.Context, fn func(wire.Event)) error {
	conn, err := c.dial(ctx, request{Op: opWatch})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for in := json.NewDecoder(conn); ; {
		var r reply
		if err := in.Decode(&r); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("root device: watch: %w", err)
		}
		if r.Event != nil {
			fn(*r.Event)
		}
	}
}

// ask sends a request and returns its answer.
func (c Control) ask(ctx context.Context, req request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	conn, err := c.dial(ctx, req)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var r reply
	if err := json.NewDecoder(io.LimitReader(conn, maxControl)).Decode(&r); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return reply{}, fmt.Errorf("root device: %s: %w", req.Op, err)
	}
	if r.Error != "" {
		return reply{}, fmt.Errorf("root device: %s: %s", req.Op, r.Error)
	}
	return r, nil
}

// dial connects and sends a request.
func (c Control) dial(ctx context.Context, req request) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, fmt.Errorf("root device: %s: %w", req.Op, err)
	}
	conn.SetWriteDeadline(time.Now().Add(controlTimeout))
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		conn.Close()
		return nil, fmt.Errorf("root device: %s: %w", req.Op, err)
	}
	return conn, nil
}

// Gone tells a server that is not there from one that is slow.
func Gone(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}
