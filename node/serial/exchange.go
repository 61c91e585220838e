package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Test sends and hears words on the ports of one machine.
type Test struct {
	Host  string
	Nonce string   // of this test; what it sends, and the answers that count
	Ports []string // devices
	Baud  int
	// Heard is called with each word that comes, and the device by which; not from several goroutines at once.
	Heard func(port string, w Word)
	// Open opens a port; nil: the real one.
	Open func(device string, baud int) (io.ReadWriteCloser, error)
}

// sayEvery is how often a hello is sent: the other end may open its port at any time.
const sayEvery = 300 * time.Millisecond

// Run sends hellos, where say is set, and answers those that it hears, until ctx ends. A port that cannot be opened, or
// fails, is an error, which the others do not wait for.
func (t *Test) Run(ctx context.Context, say bool) error {
	open := t.Open
	if open == nil {
		open = func(device string, baud int) (io.ReadWriteCloser, error) { return Open(device, baud) }
	}
	var mu sync.Mutex
	errs := make([]error, len(t.Ports))
	var all sync.WaitGroup
	for i, device := range t.Ports {
		all.Go(func() { // ends with ctx, or with the port
			port, err := open(device, t.Baud)
			if err != nil {
				errs[i] = err
				return
			}
			errs[i] = t.serve(ctx, device, port, say, &mu)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// serve is one port, until ctx ends.
func (t *Test) serve(ctx context.Context, device string, port io.ReadWriteCloser, say bool, mu *sync.Mutex) error {
	ended := make(chan error, 1)
	go func() { ended <- t.listen(device, port, mu) }()
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	var err error
	for ctx.Err() == nil && err == nil {
		if say {
			err = send(port, Word{Hello, t.Nonce, t.Host, device})
		}
		select {
		case <-ctx.Done():
		case err = <-ended:
			return errors.Join(err, port.Close())
		case <-tick.C:
		}
	}
	err = errors.Join(err, port.Close()) // which ends listen
	<-ended
	return err
}

// listen hears until the port is closed.
func (t *Test) listen(device string, port io.ReadWriter, mu *sync.Mutex) error {
	b := make([]byte, maxWord)
	var l lines
	for {
		n, err := port.Read(b)
		l.feed(b[:n], func(line string) {
			w, ok := ParseWord(line)
			if !ok || w.Host == t.Host && w.Port == device && w.Nonce == t.Nonce {
				return // noise; or a plug that leads back, and proves nothing
			}
			if w.Kind == Hello {
				_ = send(port, Word{Heard, w.Nonce, t.Host, device}) // it is asked again
			}
			mu.Lock()
			defer mu.Unlock()
			t.Heard(device, w)
		})
		if errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", device, err)
		}
	}
}

// send writes a word as a line of its own. A port that takes nothing, because its other end does not read, is no error: it
// is not heard, which is what is found out.
func send(port io.Writer, w Word) error {
	if d, ok := port.(interface{ SetWriteDeadline(time.Time) error }); ok {
		if err := d.SetWriteDeadline(time.Now().Add(sayEvery)); err != nil {
			return err
		}
	}
	_, err := io.WriteString(port, "\r\n"+w.String()+"\r\n")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
