package serial

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

const (
	// viewerBacklog is how many reads of the console wait for a slow viewer before
	// some are lost: a viewer must not hold the machine up.
	viewerBacklog = 256

	// viewerLines is what a viewer is shown of what was said before.
	viewerLines = 24
)

// viewer is one interactive terminal on a console.
type viewer struct {
	output chan []byte
	gone   chan struct{}
	once   sync.Once
}

func (v *viewer) end() { v.once.Do(func() { close(v.gone) }) }

// Attach shows the console on terminal, raw, and types what is read from it, until
// the terminal ends, ctx does, or the console is closed. It closes the terminal.
// The machine may go off and on meanwhile; keys typed while it is off are lost.
func (c *Console) Attach(ctx context.Context, terminal io.ReadWriteCloser) error {
	v := &viewer{output: make(chan []byte, viewerBacklog), gone: make(chan struct{})}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		terminal.Close()
		return fmt.Errorf("attach to console: %w", net.ErrClosed)
	}
	c.viewers[v] = struct{}{}
	before := c.Tail(viewerLines)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.viewers, v)
		c.mu.Unlock()
	}()

	var keys sync.WaitGroup
	keys.Go(func() {
		c.typeFrom(terminal)
		v.end()
	})
	defer keys.Wait()
	defer terminal.Close()

	for _, line := range before {
		if _, err := io.WriteString(terminal, strings.TrimRight(line, "\n")+"\r\n"); err != nil {
			return nil // the terminal is gone, as it may be at any time
		}
	}
	for {
		select {
		case b := <-v.output:
			if _, err := terminal.Write(b); err != nil {
				return nil
			}
		case <-v.gone:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// typeFrom types what is read from keyboard until that ends.
func (c *Console) typeFrom(keyboard io.Reader) {
	buffer := make([]byte, 256)
	for {
		n, err := keyboard.Read(buffer)
		if n > 0 {
			_ = c.Type(string(buffer[:n])) // lost on a machine that is off, as at a real one
		}
		if err != nil {
			return
		}
	}
}

// show gives the viewers what the machine said; it does not block. c.mu is held.
func (c *Console) show(b []byte) {
	if len(c.viewers) == 0 {
		return
	}
	b = append([]byte(nil), b...)
	for v := range c.viewers {
		select {
		case v.output <- b:
		default:
		}
	}
}
