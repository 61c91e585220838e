package appliance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"masthead/appliance/gossip"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// stateComparer is what knows the states of the other heads.
type stateComparer interface {
	Verify(ctx context.Context) (heads []gossip.HeadHash, equal bool, err error)
	Diff(ctx context.Context, head string) ([]gossip.KeyDifference, error)
	Fetch(ctx context.Context, head string, keys []state.Key) ([]state.Record, error)
}

// stateRoutes are the API of the replicated state as a whole.
func (a *api) stateRoutes() []route {
	return []route{
		{"GET " + wire.PathStateHash, admin, "Show the hash of this head's state", nil, wire.StateHash{}, a.stateHash, nil},
		{"GET " + wire.PathStateVerify, admin, "Compare the states of all heads", nil, wire.StateVerify{}, a.stateVerify, nil},
		{"GET " + wire.PathStateDiff + "{head}", admin, "List what another head holds differently", nil, []wire.StateDiff{}, a.stateDiff, nil},
		{"GET " + wire.PathStateExport, admin, "The whole state as one file; ?secrets=true with the secrets", nil, state.Export{}, nil, a.stateExport},
		{"POST " + wire.PathStateImport, admin, "Bring the state to what such a file says; ?dry_run=true, ?prune=true", state.Export{}, wire.StateImported{}, nil, a.stateImport},
	}
}

func (a *api) stateHash(context.Context, caller, *http.Request) (any, error) {
	return a.ownHash(), nil
}

func (a *api) ownHash() wire.StateHash {
	db := a.head.db
	s := db.Summary()
	h := wire.StateHash{
		Head: a.head.cfg.Name, Root: s.Root.String(), Records: s.Records, Equal: true, Complete: s.Complete, Epoch: s.Epoch,
	}
	if s.Newest > 0 {
		h.Newest = s.Newest.Time()
	}
	if s.Horizon > 0 {
		h.Horizon = s.Horizon.Time()
	}
	if d := db.Damage(); d != nil {
		h.Damage = d.Error()
	}
	if err := db.ReadOnly(); err != nil {
		h.ReadOnly = err.Error()
	}
	return h
}

func (a *api) stateVerify(ctx context.Context, _ caller, _ *http.Request) (any, error) {
	return verifyState(ctx, a.ownHash, a.head.comparer())
}

// verifyState asks all heads, and of those that differ how much. A head that does not answer is no error: it is told.
func verifyState(ctx context.Context, own func() wire.StateHash, c stateComparer) (wire.StateVerify, error) {
	heads, equal, err := c.Verify(ctx)
	if err != nil {
		return wire.StateVerify{}, fmt.Errorf("ask the heads for their states: %w", err)
	}
	v := wire.StateVerify{Equal: equal}
	for i, h := range heads {
		w := wire.StateHash{Head: h.Head, Root: h.Root.String(), Records: h.Records, Newest: h.Newest, Equal: h.Root == heads[0].Root}
		switch {
		case h.Err != nil:
			w = wire.StateHash{Head: h.Head, Error: h.Err.Error()}
		case i == 0:
			mine := own()
			w.Complete, w.Epoch, w.Horizon, w.Damage, w.ReadOnly = mine.Complete, mine.Epoch, mine.Horizon, mine.Damage, mine.ReadOnly
		case !w.Equal:
			keys, err := c.Diff(ctx, h.Head)
			if err != nil {
				w.Error = fmt.Sprintf("what differs: %v", err)
			}
			w.Differ = len(keys)
		}
		v.Heads = append(v.Heads, w)
	}
	return v, nil
}

func (a *api) stateDiff(ctx context.Context, _ caller, r *http.Request) (any, error) {
	name := r.PathValue("head")
	if _, ok := a.head.peerRecords()[name]; !ok {
		return nil, &problem{http.StatusNotFound, name + " is not another configured head", "masthead head list"}
	}
	return diffState(ctx, a.head.db, name, a.head.comparer())
}

// diffState lists what a head holds differently, with the values of both. Where theirs cannot be had any more the
// version alone is told.
func diffState(ctx context.Context, db *state.DB, head string, c stateComparer) ([]wire.StateDiff, error) {
	found, err := c.Diff(ctx, head)
	if err != nil {
		return nil, fmt.Errorf("compare with %s: %w", head, err)
	}
	var mine, others []state.Key
	for _, d := range found {
		if !d.Ours.IsZero() {
			mine = append(mine, d.Key)
		}
		if !d.Theirs.IsZero() {
			others = append(others, d.Key)
		}
	}
	ours, err := db.Records(mine)
	if err != nil {
		return nil, err
	}
	theirs, err := c.Fetch(ctx, head, others)
	if err != nil {
		return nil, fmt.Errorf("fetch what differs from %s: %w", head, err)
	}
	byKey := func(records []state.Record) map[state.Key]state.Record {
		m := make(map[state.Key]state.Record, len(records))
		for _, r := range records {
			m[r.Key] = r
		}
		return m
	}
	our, their := byKey(ours), byKey(theirs)
	diffs := []wire.StateDiff{}
	for _, d := range found {
		diffs = append(diffs, wire.StateDiff{Key: d.Key.String(), Ours: sideOf(d.Ours, our[d.Key]), Theirs: sideOf(d.Theirs, their[d.Key])})
	}
	return diffs, nil
}

// sideOf is a record of that version for people; r is another one, or none, if it was changed meanwhile.
func sideOf(v state.Version, r state.Record) *wire.StateValue {
	if v.IsZero() {
		return nil
	}
	side := wire.StateValue{Version: v.String(), Time: v.HLC.Time()}
	if r.Version == v {
		side.Deleted, side.Value = r.Deleted, json.RawMessage(r.Value)
		if r.Key.Kind == state.KindSecret && !r.Deleted {
			side.Value = json.RawMessage(`"(secret)"`)
		}
	}
	return &side
}

func (a *api) stateExport(w http.ResponseWriter, r *http.Request) {
	secrets, err := flagOf(r, "secrets")
	if err != nil {
		writeProblem(w, err)
		return
	}
	e, err := a.head.db.Export(secrets)
	if err != nil {
		writeProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = e.Write(w) // a client that has gone needs no answer
}

// importTime bounds reading the file: it comes over the same network in seconds.
const importTime = 5 * time.Minute

func (a *api) stateImport(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(a.now().Add(importTime)) // not on every connection
	done, err := a.importState(r, http.MaxBytesReader(w, r.Body, wire.MaxStateFile))
	if err != nil {
		writeProblem(w, err)
		return
	}
	writeJSON(w, http.StatusOK, done)
}

func (a *api) importState(r *http.Request, body io.Reader) (wire.StateImported, error) {
	none := wire.StateImported{}
	prune, err := flagOf(r, "prune")
	if err != nil {
		return none, err
	}
	dryRun, err := flagOf(r, "dry_run")
	if err != nil {
		return none, err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return none, fmt.Errorf("read the export: %w", err)
	}
	file, err := state.ReadExport(data)
	if err != nil {
		return none, &problem{http.StatusBadRequest, err.Error(), "masthead state export -o FILE makes one that is right"}
	}
	now := a.head.db.All()
	ops, diffs := file.Import(now, prune)
	nodes, err := checkImport(now, ops)
	if err != nil {
		return none, &problem{http.StatusBadRequest, err.Error(), "correct the file, or masthead state import --prune FILE if the cluster shall have nothing else"}
	}
	if err := a.head.checkImportedDocument(r.Context(), ops, nodes, a.now()); err != nil {
		return none, &problem{http.StatusBadRequest, err.Error(), "correct the text of " + clusterKey.String() + " in the file; or leave that record out, without --prune"}
	}
	done := wire.StateImported{Changes: []wire.StateDiff{}}
	for _, d := range diffs {
		c := wire.StateDiff{Key: d.Key.String()}
		if d.Ours != nil {
			c.Ours = sideOf(d.Ours.Version, *d.Ours)
		}
		if d.Theirs != nil {
			c.Theirs = sideOf(d.Theirs.Version, *d.Theirs)
		}
		done.Changes = append(done.Changes, c)
	}
	if dryRun {
		return done, nil
	}
	for len(ops) > 0 {
		n := min(len(ops), state.MaxOps)
		if _, err := a.head.store().Apply(r.Context(), callerOf(r.Context()).origin(), ops[:n]...); err != nil {
			return none, fmt.Errorf("import: %w", err)
		}
		ops = ops[n:]
	}
	done.Applied = true
	return done, nil
}

// flagOf reads a yes or no of a request's query.
func flagOf(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, &problem{http.StatusBadRequest, fmt.Sprintf("%s=%s: want true or false", name, text), ""}
	}
	return v, nil
}
