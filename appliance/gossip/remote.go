package gossip

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"masthead/appliance/state"
	"masthead/node/wire"
)

// problems say how an error that callers tell apart goes over the wire: as a status and a word, beside a wire.Problem.
var problems = []struct {
	err    error
	status int
	word   string
}{
	{errProtocol, http.StatusConflict, "protocol"},
	{state.ErrConflict, http.StatusConflict, "conflict"},
	{state.ErrNotFound, http.StatusNotFound, "not-found"},
	{state.ErrReadOnly, http.StatusInsufficientStorage, "read-only"},
	{state.ErrClockAhead, http.StatusServiceUnavailable, "clock"},
	{state.ErrClosed, http.StatusServiceUnavailable, "closed"},
	{errMessage, http.StatusBadRequest, "message"},
}

// problemOf describes an error for another head.
func problemOf(err error) (p wire.Problem, word string) {
	p = wire.Problem{Status: http.StatusInternalServerError, Detail: err.Error()}
	var stranger *notConfigured
	if errors.As(err, &stranger) {
		p.Status = http.StatusForbidden
	}
	for _, k := range problems {
		if errors.Is(err, k.err) {
			p.Status, word = k.status, k.word
			break
		}
	}
	var hint interface{ Try() string }
	if errors.As(err, &hint) {
		p.Try = hint.Try()
	}
	return p, word
}

// remoteError is an error that another head answered with. errors.Is finds what it is.
type remoteError struct {
	head    string
	problem wire.Problem
	is      error // one of problems, or nil
}

func remoteProblem(head string, p wire.Problem, word string) error {
	e := &remoteError{head: head, problem: p}
	for _, k := range problems {
		if k.word == word {
			e.is = k.err
		}
	}
	return e
}

func (e *remoteError) Error() string { return fmt.Sprintf("%s answers: %s", e.head, e.problem.Detail) }
func (e *remoteError) Unwrap() error { return e.is }
func (e *remoteError) Answered()     {}

// Try is what the other head advises.
func (e *remoteError) Try() string { return e.problem.Try }

// Answered marks the error as one that the other head itself gave.
func (e *protocolError) Answered() {}

// ApplyAt makes changes on another head, for what only that one may change, and takes them over here at once: two heads
// have them when it returns. The records are those of the changed keys. On an error other than those of state.Store it
// is unknown whether the changes were made there.
func (r *Replica) ApplyAt(ctx context.Context, head string, o state.Origin, ops ...state.Op) (state.Ack, []state.Record, error) {
	if head == r.conf.Name {
		ack, err := r.Apply(ctx, o, ops...)
		if err != nil {
			return state.Ack{}, nil, err
		}
		records, err := r.db.Records(keysOf(ops))
		return ack, records, err
	}
	fail := func(err error) (state.Ack, []state.Record, error) {
		return state.Ack{}, nil, fmt.Errorf("gossip: change the state at %s: %w", head, err)
	}
	p, err := r.peer(head)
	if err != nil {
		return fail(err)
	}
	body, err := r.askJSON(ctx, p, callApply, applyRequest{o, ops})
	if err != nil {
		return state.Ack{}, nil, err
	}
	n, rest, err := cutCount(body, len(body))
	if err != nil || n > len(rest) {
		return fail(errors.Join(errMessage, err))
	}
	ack, err := decodeJSON[state.Ack](rest[:n])
	if err != nil {
		return fail(err)
	}
	records, err := state.DecodeBatch(rest[n:])
	if err != nil {
		return fail(err)
	}
	ack.Seq = 0 // of the other head's commits
	switch got, err := r.merge(ctx, head, records); {
	case err != nil:
		ack.Degraded = fmt.Sprintf("only %s has it: %v", head, err)
	case got.Ahead > 0:
		ack.Degraded = fmt.Sprintf("only %s has it: its clock is %.1f s ahead of ours", head, got.Lead)
	}
	return ack, records, nil
}

func keysOf(ops []state.Op) []state.Key {
	keys := make([]state.Key, len(ops))
	for i, op := range ops {
		keys[i] = op.Key
	}
	return keys
}
