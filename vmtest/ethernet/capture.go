package ethernet

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// flushEvery bounds what a capture misses when the process is killed.
const flushEvery = 250 * time.Millisecond

// Capture writes frames to a pcapng file, with each port as an interface of its
// own. One capture may serve any number of ports and switches.
type Capture struct {
	done sync.WaitGroup
	stop chan struct{}
	once sync.Once

	mu     sync.Mutex
	closer io.Closer
	writer *bufio.Writer
	ports  map[string]uint32
	buffer []byte
	err    error
}

// CreateCapture starts a capture file at path, replacing what is there.
func CreateCapture(path string) (*Capture, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	c := &Capture{
		stop:   make(chan struct{}),
		closer: file,
		writer: bufio.NewWriterSize(file, 256<<10),
		ports:  make(map[string]uint32),
	}
	c.write(appendSectionHeader(nil))
	c.done.Go(c.flushing)
	return c, nil
}

func (c *Capture) flushing() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.Flush()
		case <-c.stop:
			return
		}
	}
}

// Flush brings what was recorded so far to the file.
func (c *Capture) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = c.writer.Flush()
	}
	return c.err
}

// Close ends the capture and returns the first error of any write to it.
func (c *Capture) Close() error {
	var err error
	c.once.Do(func() {
		close(c.stop)
		c.done.Wait()
		err = c.Flush()
		if closing := c.closer.Close(); err == nil {
			err = closing
		}
		c.mu.Lock()
		c.err = os.ErrClosed // a port may still hold the capture
		c.mu.Unlock()
	})
	return err
}

func (c *Capture) record(port string, frame []byte, w way) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	id, known := c.ports[port]
	if !known {
		id = uint32(len(c.ports))
		c.ports[port] = id
		c.buffer = appendInterface(c.buffer[:0], port)
		c.write(c.buffer)
	}
	c.buffer = appendPacket(c.buffer[:0], id, now, frame, w)
	c.write(c.buffer)
}

func (c *Capture) write(b []byte) {
	if c.err == nil {
		_, c.err = c.writer.Write(b)
	}
}
