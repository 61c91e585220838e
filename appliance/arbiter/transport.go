package arbiter

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"

	"masthead/appliance/failover"
)

// errPromised is what candidates are told; raft only counts that it is no vote.
var errPromised = errors.New("another head may still hold the lease")

// transport is raft's way to the other heads, with the guard in it.
type transport struct {
	*raft.NetworkTransport
	stream   *stream
	self     raft.ServerID
	now      func() failover.Instant
	consumer chan raft.RPC
	done     chan struct{}
	wg       sync.WaitGroup
	stopped  sync.Once
	promise  func() // is called when the guard has promised; must not block

	mu    sync.Mutex
	guard guard
	lease bool             // what heartbeats ask for
	since failover.Instant // of lease
	seq   uint64
	acks  map[raft.ServerID]ack
}

// ack is what another head has answered to heartbeats.
type ack struct {
	term      uint64
	sent      failover.Instant // the newest that it promised something for was sent then
	contacted failover.Instant // the newest that it answered
}

func newTransport(inner *raft.NetworkTransport, s *stream, self raft.ServerID, length failover.Instant, now func() failover.Instant, promise func()) *transport {
	t := &transport{
		NetworkTransport: inner, stream: s, self: self, now: now, consumer: make(chan raft.RPC), done: make(chan struct{}),
		guard: guard{length: length}, acks: map[raft.ServerID]ack{}, promise: promise,
	}
	t.wg.Go(t.consume)
	return t
}

// Close ends the connections.
func (t *transport) Close() error {
	t.stopped.Do(func() { close(t.done) })
	err := t.NetworkTransport.Close()
	t.NetworkTransport.CloseStreams()
	t.wg.Wait()
	return err
}

// Consumer gives raft what came in and passed the guard.
func (t *transport) Consumer() <-chan raft.RPC { return t.consumer }

func (t *transport) consume() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			t.in(rpc)
		case <-t.done:
			return
		}
	}
}

// in hands one request to raft, or refuses it.
func (t *transport) in(rpc raft.RPC) {
	var answered func()
	switch c := rpc.Command.(type) {
	case *raft.RequestPreVoteRequest:
		if !t.locked(func() bool { return t.guard.free(string(c.ID), t.now()) }) {
			rpc.Respond(nil, errPromised)
			return
		}
	case *raft.TimeoutNowRequest:
		if !t.locked(func() bool { return t.guard.free(string(t.self), t.now()) }) {
			rpc.Respond(nil, errPromised)
			return
		}
	case *raft.RequestVoteRequest:
		if !t.locked(func() bool { return t.guard.vote(string(c.ID), t.now()) }) {
			rpc.Respond(nil, errPromised)
			return
		}
		answered = func() { t.locked(func() bool { t.guard.voted(); return true }) }
	}
	if answered != nil {
		to, through := rpc.RespChan, make(chan raft.RPCResponse, 1)
		rpc.RespChan = through
		t.wg.Go(func() {
			select {
			case r := <-through:
				answered()
				to <- r // has room for one
			case <-t.done:
			}
		})
	}
	select {
	case t.consumer <- rpc:
	case <-t.done:
	}
}

func (t *transport) locked(f func() bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return f()
}

// SetHeartbeatHandler has heartbeats answered with a promise, where one was asked for and could be made.
func (t *transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	if handle == nil {
		t.NetworkTransport.SetHeartbeatHandler(nil)
		return
	}
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		req, ok := rpc.Command.(*raft.AppendEntriesRequest)
		if !ok {
			handle(rpc)
			return
		}
		t.mu.Lock()
		l := t.guard.look()
		t.mu.Unlock()
		to, through := rpc.RespChan, make(chan raft.RPCResponse, 1)
		rpc.RespChan = through
		handle(rpc) // answers before it returns, or is shutting down
		select {
		case r := <-through:
			to <- t.sign(req, l, r)
		default:
			to <- raft.RPCResponse{Error: raft.ErrRaftShutdown}
		}
	})
}

func (t *transport) sign(req *raft.AppendEntriesRequest, l looked, r raft.RPCResponse) raft.RPCResponse {
	resp, ok := r.Response.(*raft.AppendEntriesResponse)
	m, marked := parseMark(req.Leader)
	if !ok || !marked || r.Error != nil || !resp.Success || resp.Term != req.Term {
		return r
	}
	t.mu.Lock()
	made := t.guard.heartbeat(string(req.ID), req.Term, m, l, t.now())
	t.mu.Unlock()
	if !made {
		return r
	}
	t.promise()
	out := *resp
	out.RPCHeader.Addr = promised(m.seq)
	return raft.RPCResponse{Response: &out}
}

// AppendEntries marks heartbeats, and notes what was promised for them.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if len(args.Entries) > 0 || args.PrevLogEntry != 0 || args.LeaderCommitIndex != 0 { // as net_transport.go, handleCommand
		return t.NetworkTransport.AppendEntries(id, to, args, resp)
	}
	t.mu.Lock()
	t.seq++
	m := mark{seq: t.seq, lease: t.lease}
	t.mu.Unlock()
	marked := *args
	marked.Leader = m.append(nil)
	var fresh raft.AppendEntriesResponse // raft uses resp again and again, and what is empty is not written over
	sent := t.now()
	err := t.NetworkTransport.AppendEntries(id, to, &marked, &fresh)
	*resp = fresh
	if err != nil || !fresh.Success || fresh.Term != args.Term {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.acks[id]
	if a.term != args.Term {
		a = ack{term: args.Term, sent: never, contacted: never}
	}
	a.contacted = max(a.contacted, sent)
	if m.lease && isPromised(fresh.RPCHeader.Addr, m.seq) {
		a.sent = max(a.sent, sent)
	}
	t.acks[id] = a
	return nil
}

// RequestVote asks for a vote for this head, if it has not promised to be none of the candidates.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if !t.locked(func() bool { return t.guard.candidate(string(t.self), t.now()) }) {
		return errPromised
	}
	return t.NetworkTransport.RequestVote(id, to, args, resp)
}

// RequestPreVote asks whether there is sense in being a candidate.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if !t.locked(func() bool { return t.guard.free(string(t.self), t.now()) }) {
		return errPromised
	}
	return t.NetworkTransport.RequestPreVote(id, to, args, resp)
}

// ask sets whether heartbeats ask for a lease, and reports whether that is new. What was promised before is not counted any
// more.
func (t *transport) ask(lease bool) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lease == t.lease {
		return false
	}
	t.lease, t.since = lease, t.now()
	if !lease {
		t.guard.give(string(t.self), t.now())
	}
	return true
}

// released reports whether that head has heard that no lease is asked for.
func (t *transport) released(term uint64, id raft.ServerID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.acks[id]
	return ok && a.term == term && !t.lease && a.contacted >= t.since
}

// look is guard.look.
func (t *transport) look() looked {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.guard.look()
}

// sent is when the heartbeat was sent that a majority of voters has promised something for, in term; this head promises
// too, and has looked at began. never: there is none.
func (t *transport) sent(term uint64, voters []raft.ServerID, l looked, began failover.Instant) failover.Instant {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.lease || !t.guard.own(string(t.self), term, l, t.now()) {
		return never
	}
	var at []failover.Instant
	for _, id := range voters {
		a, ok := t.acks[id]
		switch {
		case id == t.self:
			at = append(at, began)
		case ok && a.term == term && a.sent >= t.since:
			at = append(at, a.sent)
		default:
			at = append(at, never)
		}
	}
	return majority(at)
}

// contacted is when a majority of voters was last in contact with this head as the leader of term.
func (t *transport) contacted(term uint64, voters []raft.ServerID) failover.Instant {
	var at []failover.Instant
	for _, id := range voters {
		if id == t.self {
			at = append(at, t.now())
		} else {
			at = append(at, t.contact(term, id))
		}
	}
	return majority(at)
}

// contact is when that head last answered this one as the leader of term.
func (t *transport) contact(term uint64, id raft.ServerID) failover.Instant {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.acks[id]; ok && a.term == term {
		return a.contacted
	}
	return never
}

// promisedUntil is when this head's promise to another ends.
func (t *transport) promisedUntil() (leader string, until failover.Instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.guard.leader, t.guard.until
}

// free reports whether this head may be a candidate.
func (t *transport) free() bool {
	return t.locked(func() bool { return t.guard.free(string(t.self), t.now()) })
}
