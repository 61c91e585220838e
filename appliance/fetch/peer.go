package fetch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"masthead/images"
)

// What a peer may have done wrong.
var (
	errAbsent = errors.New("does not have it")
	errStall  = errors.New("gives nothing more")
)

// order is the order in which the peers are asked: random, so that none serves all, but those that did not answer just
// now come last.
func (f *Fetcher) order() []Peer {
	peers := slices.Clone(f.conf.Peers())
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	now := f.conf.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	late := func(p Peer) int {
		if until, ok := f.shunned[p.Name]; ok && now.Before(until) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(peers, func(a, b Peer) int { return late(a) - late(b) })
	return peers
}

// avoid puts a peer behind the others for a while.
func (f *Fetcher) avoid(p Peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shunned[p.Name] = f.conf.Now().Add(shun)
}

// from asks one peer for a blob.
func (f *Fetcher) from(p Peer, fl *flight) error {
	ctx, cancel := context.WithCancelCause(f.ctx)
	defer cancel(nil)
	var came atomic.Int64
	stop := watch(&came, f.conf.Stall, cancel)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+f.conf.Path+string(fl.blob.Digest), nil)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		if cause := context.Cause(ctx); cause != nil && f.ctx.Err() == nil {
			err = cause
		}
		f.avoid(p)
		return plain(err)
	}
	resp, err := p.HTTP.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return errAbsent
	default:
		return fail(fmt.Errorf("answers %s", resp.Status))
	}
	if err := f.begin(fl, resp.ContentLength); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(fl.spool, sum), &counter{resp.Body, &came})
	if err != nil {
		return fail(fmt.Errorf("after %d of %d bytes: %w", n, fl.spool.size, err))
	}
	if n < fl.spool.size {
		return fail(fmt.Errorf("after %d of %d bytes: %w", n, fl.spool.size, io.ErrUnexpectedEOF))
	}
	if got := images.DigestFromSum(sum.Sum(nil)); got != fl.blob.Digest {
		err := fmt.Errorf("gives wrong bytes for blob %s: their digest is %s", fl.blob.Digest.Short(), got.Short())
		f.tell(fmt.Sprintf("head %s %v; they were discarded", p.Name, err))
		return err
	}
	return nil
}

// plain is an error without the addresses and ports that make it another one each time.
func plain(err error) error {
	var errno syscall.Errno
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, errStall):
		return errStall
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("does not answer")
	}
	return err
}

// begin checks the size that a peer says, and makes the flight ready for what comes.
func (f *Fetcher) begin(fl *flight, size int64) error {
	want := fl.blob.Size
	if fl.spool != nil {
		want = fl.spool.size
	}
	switch {
	case want > 0 && size != want:
		return fmt.Errorf("has %d bytes under this name, want %d", size, want)
	case want == 0 && (size < 0 || size > f.conf.Limit):
		return fmt.Errorf("has %d bytes under this name, at most %d", size, f.conf.Limit)
	}
	if fl.spool != nil {
		fl.spool.restart()
		return nil
	}
	s, err := newSpool(f.conf.Spool, size)
	if err != nil {
		f.tell(fmt.Sprintf("a blob of %d bytes cannot be fetched from other heads: %v", size, err))
		return err
	}
	fl.spool = s
	close(fl.ready)
	return nil
}

// watch cancels what makes no progress. The caller calls stop.
func watch(came *atomic.Int64, stall time.Duration, cancel context.CancelCauseFunc) (stop func()) {
	var before int64
	var timer *time.Timer
	var over atomic.Bool
	timer = time.AfterFunc(time.Hour, func() {
		now := came.Load()
		if now-before < slow {
			cancel(errStall)
			return
		}
		before = now
		if !over.Load() {
			timer.Reset(stall)
		}
	})
	timer.Reset(stall)
	return func() { over.Store(true); timer.Stop() }
}

// counter counts what is read.
type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
