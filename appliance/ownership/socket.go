package ownership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

// The API of the daemon, for root on this machine: HTTP and JSON on a Unix socket.

const (
	// maxRequest bounds a request: the largest names a head and a reason.
	maxRequest = 64 << 10
	// switchWait is how long an answer to a switch waits for it to be done; services may take longer to stop, and a client
	// waits 15 s for an answer (wire.Client).
	switchWait = 10 * time.Second
	// fenceWait is how long an answer to a test of a head's devices waits for them, for the same reason.
	fenceWait = 10 * time.Second
	// pollWait is how long a reader of events waits for one, for the same reason.
	pollWait = 10 * time.Second
)

// problem is an answer that is no success.
type problem struct {
	status      int
	detail, try string
}

func (p *problem) Error() string { return p.detail }

// Try is what to type.
func (p *problem) Try() string { return p.try }

func (d *Daemon) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
			out, err := f(r)
			answer(w, out, err)
		})
	}
	handle("GET "+wire.PathOwner, d.serveStatus)
	handle("POST "+wire.PathOwnerSwitch, d.serveSwitch)
	handle("POST "+wire.PathOwnerPromote, d.servePromote)
	handle("POST "+wire.PathOwnerDead, d.serveDead)
	handle("POST "+wire.PathOwnerFence+"{head}", d.serveFence)
	handle("POST "+wire.PathOwnerOff+"{head}", d.serveOff)
	handle("GET "+wire.PathOwnerEvents, d.serveEvents)
	handle("POST "+wire.PathOwnerReload, d.serveReload)
	handle("GET "+wire.PathOwnerData, d.serveData)
	handle("POST "+wire.PathOwnerVolume+"{volume}", onDataWith(d, serveDataChange))
	handle("POST "+wire.PathOwnerAsk, onDataWith(d, serveDataAsk))
	handle("GET "+wire.PathOwnerVolume+"{volume}"+wire.PathSnapshots, d.onData(serveSnapshots))
	handle("POST "+wire.PathOwnerVolume+"{volume}"+wire.PathSnapshots, onDataWith(d, d.serveSnapshotChange))
	handle("GET "+wire.PathOwnerVolume+"{volume}"+wire.PathSnapshotDiff+"{snapshot}", d.onData(serveSnapshotDiff))
	return mux
}

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json")
	status := http.StatusOK
	if err != nil {
		p := wire.Problem{Status: http.StatusInternalServerError, Detail: err.Error()}
		var own *problem
		var try interface{ Try() string }
		if errors.As(err, &own) {
			p.Status = own.status
		}
		if errors.As(err, &try) {
			p.Try = try.Try()
		}
		status, out = p.Status, p
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // a client that has gone needs no answer
}

func read[T any](r *http.Request) (T, error) {
	var v T
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return v, &problem{http.StatusBadRequest, fmt.Sprintf("the body is not what this takes: %v", err), ""}
	}
	return v, nil
}

// serving is the socket's server.
type serving struct {
	ctx context.Context // ends with the server
	all sync.WaitGroup

	mu    sync.Mutex
	tests map[string]*fenceTest // under way, by head
}

func (s *serving) wait() { s.all.Wait() }

// background starts the server of the socket. Its end is the end of the returned context.
func (d *Daemon) background(ctx context.Context) (context.Context, *serving) {
	s := &serving{ctx: ctx, tests: map[string]*fenceTest{}}
	d.serving = s
	if d.opts.Socket == "" {
		return ctx, s
	}
	s.all.Go(func() {
		if err := d.serve(ctx); err != nil && ctx.Err() == nil {
			d.event("owner", err.Error(), true)
		}
	})
	return ctx, s
}

func (d *Daemon) serve(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(d.opts.Socket), 0o755); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// A daemon that was killed leaves its socket behind. Two at once are kept apart by the lock on the record.
	if err := os.Remove(d.opts.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listen: %w", err)
	}
	l, err := net.Listen("unix", d.opts.Socket)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(d.opts.Socket, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("listen: %w", err)
	}
	srv := &http.Server{Handler: d.handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (d *Daemon) serveStatus(r *http.Request) (any, error) {
	var s wire.OwnerStatus
	err := d.do(r.Context(), func() { s = d.status() })
	return s, err
}

func (d *Daemon) serveEvents(r *http.Request) (any, error) {
	after, _ := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64) // without a number: all
	ctx, cancel := context.WithTimeout(r.Context(), pollWait)
	defer cancel()
	all := d.events.after(ctx, after)
	if all == nil {
		all = []wire.OwnerEvent{}
	}
	return all, nil
}

func (d *Daemon) serveReload(r *http.Request) (any, error) {
	var trouble string
	err := d.do(r.Context(), func() { d.reload(); trouble = d.trouble["configuration"] })
	if err == nil && trouble != "" {
		err = errors.New(trouble)
	}
	return struct{}{}, err
}

// notConfigured is the answer of a daemon that nobody has told anything.
func notConfigured() error {
	return &problem{http.StatusServiceUnavailable, ErrNoConfig.Error(), "masthead head list, to see whether this head is in its cluster"}
}

func (d *Daemon) serveSwitch(r *http.Request) (any, error) {
	req, err := read[wire.SwitchRequest](r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), switchWait)
	defer cancel()
	began := time.Now()
	done := make(chan settled, 1)
	var plan wire.SwitchAnswer
	var refused error
	err = d.do(ctx, func() {
		if plan, refused = d.planSwitch(req); refused == nil && !req.DryRun {
			d.operator.wish.Switch = plan.To
			d.operator.switched = append(d.operator.switched, done)
		}
	})
	if err = errors.Join(err, refused); err != nil || req.DryRun {
		return plan, err
	}
	select {
	case s := <-done:
		plan.Seconds = time.Since(began).Seconds()
		return s.switched(plan)
	case <-ctx.Done():
		_ = d.do(r.Context(), func() { d.operator.forget(&d.operator.switched, done) })
		plan.Running, plan.Seconds = true, time.Since(began).Seconds()
		return plan, nil
	}
}

func (d *Daemon) servePromote(r *http.Request) (any, error) {
	req, err := read[wire.PromoteRequest](r)
	if err != nil {
		return nil, err
	}
	return d.ask(r.Context(), func() (*[]chan settled, error) {
		d.operator.wish.Promote, d.operator.wish.Force = true, req.Force
		return &d.operator.promoted, nil
	}, func() { d.operator.wish.Promote, d.operator.wish.Force = false, false })
}

func (d *Daemon) serveDead(r *http.Request) (any, error) {
	req, err := read[wire.ConfirmDead](r)
	if err != nil {
		return nil, err
	}
	return d.ask(r.Context(), func() (*[]chan settled, error) {
		if _, ok := d.config.Heads[req.Head]; !ok || req.Head == d.config.Self {
			return nil, &problem{http.StatusNotFound, fmt.Sprintf("%q is not another head of this cluster", req.Head), "masthead head list"}
		}
		if f := d.parts.fencer; f.made {
			_ = f.it.Confirm(req.Head, req.By) // a head without a manual device has nothing that waits for it
		}
		d.event("fence", fmt.Sprintf("%s says that %s is off", by(req.By), req.Head), false)
		d.operator.wish.ConfirmDead = req.Head
		return &d.operator.confirmed, nil
	}, func() { d.operator.wish.ConfirmDead = "" })
}

func by(who string) string {
	if who == "" {
		return "an administrator"
	}
	return who
}

// askWait is how long a person waits for the answer to a wish: longer than the timers of Decide together, and less than a
// client waits.
const askWait = 12 * time.Second

// ask makes a wish and waits until it is settled, or is about to be.
func (d *Daemon) ask(ctx context.Context, wish func() (*[]chan settled, error), forget func()) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	done := make(chan settled, 1)
	var waiting *[]chan settled
	var refused error
	err := d.do(ctx, func() {
		if !d.configured() {
			refused = notConfigured()
			return
		}
		if waiting, refused = wish(); refused == nil {
			*waiting = append(*waiting, done)
		}
	})
	if err = errors.Join(err, refused); err != nil {
		return nil, err
	}
	select {
	case how := <-done:
		if err := how.refused(); err != nil {
			return nil, err
		}
		var s wire.OwnerStatus
		err := d.do(ctx, func() { s = d.status() })
		return s, err
	case <-ctx.Done():
		var s wire.OwnerStatus
		_ = d.do(context.WithoutCancel(ctx), func() {
			if !d.operator.forget(waiting, done) {
				forget()
			}
			s = d.status()
		})
		return s, unsettled(s)
	}
}

// unsettled is the answer to a wish that took longer than a person waits: none where this head has become the owner, and starts
// services that take their time.
func unsettled(s wire.OwnerStatus) error {
	if s.Owner == s.Self && s.Why.Phase == failover.Promote.String() {
		return nil
	}
	return &problem{http.StatusGatewayTimeout, fmt.Sprintf("nothing came of it in %v", askWait), "masthead status --why"}
}

// serveOff fences a head that an administrator takes out of the cluster, and tells how that goes when it is asked again.
func (d *Daemon) serveOff(r *http.Request) (any, error) {
	head := r.PathValue("head")
	state := wire.FenceState{Head: head, Power: "unknown"}
	var refused error
	err := d.do(r.Context(), func() {
		f := d.parts.fencer
		if !f.made || !f.it.Possible(head) {
			refused = &problem{http.StatusNotFound, fmt.Sprintf("no fence device is configured for %q", head), "masthead cluster edit"}
			return
		}
		reading := f.it.Fencing(head)
		if reading.Target != head || reading.State == failover.FenceIdle {
			f.it.Start(head)
			reading = f.it.Fencing(head)
		}
		switch reading.State {
		case failover.FenceProof:
			state.Power = "off"
		case failover.FenceFailed:
			state.Trouble = reading.Detail
		}
	})
	return state, errors.Join(err, refused)
}
