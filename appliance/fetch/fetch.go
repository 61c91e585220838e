package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// Peer is another head.
type Peer struct {
	Name string
	URL  string       // without a path
	HTTP *http.Client // sure of whom it talks to
}

// Config says what a Fetcher stands on.
type Config struct {
	// Have reports whether a blob is here. A size of 0 is one that is not known.
	Have func(images.Blob) bool
	// Put stores what r gives if it has the digest d, and nothing otherwise.
	Put   func(r io.Reader, d images.Digest) error
	Peers func() []Peer
	Path  string // of a blob at a peer, without its digest
	Spool string // folder for large blobs while they come; empty: that of the system
	// Limit is the size of the largest blob whose size is not known beforehand; 0 is images.MaxManifestSize.
	Limit int64
	// Stall is how long a peer may give next to nothing before the next one is asked; 0 is DefaultStall.
	Stall time.Duration
	// Event is told of what an administrator should know, once for each cause in a while; nil: nobody is.
	Event func(text string)
	Log   *slog.Logger     // nil: nowhere
	Now   func() time.Time // nil is time.Now
}

const (
	// DefaultStall is more than a disk that spins up, or a switch that changes its paths, takes.
	DefaultStall = 10 * time.Second
	// slow is what a peer must give in that time. A head on the same network gives a thousand times that.
	slow = 64 << 10
	// maxFlights bounds the blobs that come at once, and so the memory for them: a chunk is 256 KiB as a rule.
	maxFlights = 24
	// shun is how long a head that did not answer is asked only after all others.
	shun = 5 * time.Second
	// again is how long it takes before a blob that nobody has is asked for again.
	again = time.Second
	// quiet is how long the same event is not repeated.
	quiet = time.Minute
)

// ErrFull is a blob that was found, and for which there is no room here.
var ErrFull = errors.New("the disk is full")

// Fetcher gets blobs from peers. Each blob comes once at a time, however many ask for it.
type Fetcher struct {
	conf  Config
	ctx   context.Context
	stop  context.CancelFunc
	slots chan struct{}
	all   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	flights map[images.Digest]*flight
	failed  map[images.Digest]failure
	shunned map[string]time.Time // by peer: until when
	told    map[string]time.Time
}

type failure struct {
	err   error
	until time.Time
}

// New makes a Fetcher. The caller closes it.
func New(conf Config) (*Fetcher, error) {
	if conf.Have == nil || conf.Put == nil || conf.Peers == nil || conf.Path == "" {
		return nil, errors.New("fetch: no store, or nobody to ask")
	}
	if conf.Limit == 0 {
		conf.Limit = images.MaxManifestSize
	}
	if conf.Stall == 0 {
		conf.Stall = DefaultStall
	}
	if conf.Event == nil {
		conf.Event = func(string) {}
	}
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	if conf.Now == nil {
		conf.Now = time.Now
	}
	f := &Fetcher{
		conf: conf, slots: make(chan struct{}, maxFlights), flights: map[images.Digest]*flight{}, failed: map[images.Digest]failure{},
		shunned: map[string]time.Time{}, told: map[string]time.Time{},
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f, nil
}

// Close ends what is under way and waits for it.
func (f *Fetcher) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.all.Wait()
}

// flight is one blob on its way here.
type flight struct {
	blob   images.Blob // as it was asked for
	users  int         // who look at it, the flight itself too; guarded by the Fetcher's mu
	ready  chan struct{}
	done   chan struct{}
	spool  *spool // set when ready, unless nothing came
	err    error  // set when done: it does not come
	stored error  // set when done: it came, and could not be stored
}

// Open gives a blob while it comes, and its size: reading ends with an error unless all of it is right. It waits until
// a peer has begun to give it. What comes is stored, also if nobody reads to the end. An error wraps images.ErrNotFound
// where no peer has the blob.
func (f *Fetcher) Open(ctx context.Context, b images.Blob) (io.ReadCloser, int64, error) {
	fl, err := f.join(b)
	if err != nil {
		return nil, 0, err
	}
	select {
	case <-fl.ready:
	case <-fl.done:
	case <-ctx.Done():
		f.leave(fl)
		return nil, 0, fmt.Errorf("fetch blob %s: %w", b.Digest.Short(), ctx.Err())
	}
	if fl.spool == nil {
		defer f.leave(fl)
		return nil, 0, fl.err
	}
	return &follower{spool: fl.spool, leave: func() { f.leave(fl) }}, fl.spool.size, nil
}

// Get brings a blob here and returns when it is stored. An error wraps images.ErrNotFound where no peer has the blob,
// and ErrFull where there is no room for it.
func (f *Fetcher) Get(ctx context.Context, b images.Blob) error {
	if f.conf.Have(b) {
		return nil
	}
	fl, err := f.join(b)
	if err != nil {
		return err
	}
	defer f.leave(fl)
	select {
	case <-fl.done:
	case <-ctx.Done():
		return fmt.Errorf("fetch blob %s: %w", b.Digest.Short(), ctx.Err())
	}
	if fl.err != nil {
		return fl.err
	}
	return fl.stored
}

// Begin brings a blob here, also where one lies that is damaged, and does not wait for it.
func (f *Fetcher) Begin(b images.Blob) {
	if fl, err := f.join(b); err == nil {
		f.leave(fl)
	}
}

// join gives the flight of a blob, which it starts if there is none. The caller leaves it.
func (f *Fetcher) join(b images.Blob) (*flight, error) {
	if !b.Digest.Valid() {
		return nil, fmt.Errorf("fetch blob %q: %w", b.Digest, images.ErrNotFound)
	}
	now := f.conf.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("fetch blob %s: %w", b.Digest.Short(), context.Canceled)
	}
	if fl, ok := f.flights[b.Digest]; ok {
		fl.users++
		return fl, nil
	}
	if fail, ok := f.failed[b.Digest]; ok {
		if now.Before(fail.until) {
			return nil, fail.err
		}
		delete(f.failed, b.Digest)
	}
	fl := &flight{blob: b, users: 2, ready: make(chan struct{}), done: make(chan struct{})}
	f.flights[b.Digest] = fl
	f.all.Go(func() { f.fly(fl) })
	return fl, nil
}

// fly brings one blob here.
func (f *Fetcher) fly(fl *flight) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
		fl.err = f.ask(fl)
	case <-f.ctx.Done():
		fl.err = fmt.Errorf("fetch blob %s: %w", fl.blob.Digest.Short(), f.ctx.Err())
	}
	if fl.spool != nil {
		fl.spool.finish(fl.err)
	}
	if fl.err == nil {
		fl.stored = f.store(fl)
	}
	f.mu.Lock()
	delete(f.flights, fl.blob.Digest)
	if fl.err != nil && f.ctx.Err() == nil {
		f.remember(fl.blob.Digest, fl.err)
	}
	f.mu.Unlock()
	close(fl.done)
	f.leave(fl)
}

// leave says that one who looked at a flight does so no more. What came goes with the last.
func (f *Fetcher) leave(fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.users--; fl.users == 0 && fl.spool != nil {
		fl.spool.close()
	}
}

// remember keeps why a blob did not come. The caller holds mu.
func (f *Fetcher) remember(d images.Digest, err error) {
	now := f.conf.Now()
	maps.DeleteFunc(f.failed, func(_ images.Digest, x failure) bool { return !now.Before(x.until) })
	f.failed[d] = failure{err, now.Add(again)}
}

func (f *Fetcher) store(fl *flight) error {
	err := f.conf.Put(fl.spool.content(), fl.blob.Digest)
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		f.tell("no room for what is fetched from other heads: the disk is full")
		return fmt.Errorf("store blob %s, %d bytes: %w: %w", fl.blob.Digest.Short(), fl.spool.size, ErrFull, err)
	}
	f.tell(fmt.Sprintf("what is fetched from other heads cannot be stored: %v", err))
	return fmt.Errorf("store what was fetched: %w", err)
}

// ask asks one peer after the other.
func (f *Fetcher) ask(fl *flight) error {
	var said []error
	peers := f.order()
	for _, p := range peers {
		err := f.from(p, fl)
		if err == nil {
			return nil
		}
		if f.ctx.Err() != nil {
			return fmt.Errorf("fetch blob %s: %w", fl.blob.Digest.Short(), f.ctx.Err())
		}
		f.conf.Log.Debug("fetch", "blob", fl.blob.Digest.Short(), "from", p.Name, "err", err)
		said = append(said, fmt.Errorf("%s: %w", p.Name, err))
	}
	if len(peers) == 0 {
		return fmt.Errorf("blob %s is not here, and there is no other head: %w", fl.blob.Digest, images.ErrNotFound)
	}
	slices.SortFunc(said, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return &MissingError{Digest: fl.blob.Digest, Said: said}
}

// MissingError is a blob that is not here and that no other head gave.
type MissingError struct {
	Digest images.Digest
	Said   []error // one for each head
}

func (e *MissingError) Error() string {
	text := fmt.Sprintf("no head has blob %s", e.Digest)
	for i, err := range e.Said {
		sep := "; "
		if i == 0 {
			sep = " ("
		}
		text += sep + err.Error()
	}
	if len(e.Said) > 0 {
		text += ")"
	}
	return text
}

// Unwrap makes it an images.ErrNotFound.
func (e *MissingError) Unwrap() error { return images.ErrNotFound }

// Nowhere reports whether every head has said that it does not have the blob. One that did not answer may have it.
func (e *MissingError) Nowhere() bool {
	return !slices.ContainsFunc(e.Said, func(err error) bool { return !errors.Is(err, errAbsent) })
}

// Try says what helps.
func (e *MissingError) Try() string {
	return "masthead head list; switch on a head that has the image, or import it again: masthead image import FILE"
}

// tell tells of something once in a while.
func (f *Fetcher) tell(text string) {
	now := f.conf.Now()
	f.mu.Lock()
	until, ok := f.told[text]
	again := !ok || !now.Before(until)
	if again {
		maps.DeleteFunc(f.told, func(_ string, t time.Time) bool { return !now.Before(t) })
		f.told[text] = now.Add(quiet)
	}
	f.mu.Unlock()
	if again {
		f.conf.Event(text)
	}
}

// Fetching lists the blobs that are on their way.
func (f *Fetcher) Fetching() []images.Digest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.flights))
}

// HasPeers reports whether there is another head to ask.
func (f *Fetcher) HasPeers() bool { return len(f.conf.Peers()) > 0 }
