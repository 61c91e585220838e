package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"masthead/appliance/ownership"
	wanted "masthead/appliance/service"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// ownerRoutes are the API of ownership. What only the owner can do goes to the owner, from whichever head is asked; what a
// person says of one head's ownership is for the head that is asked.
func (a *api) ownerRoutes() []route {
	return []route{
		{"GET " + wire.PathOwner, admin, "Who owns the cluster, and what runs", nil, wire.OwnerStatus{}, a.owner, nil},
		{"POST " + wire.PathOwnerSwitch, admin, "Have the owner hand over to another head", wire.SwitchRequest{}, wire.SwitchAnswer{}, a.switchOwner, nil},
		{"POST " + wire.PathOwnerPromote, admin, "Make this head the owner, on the administrator's word", wire.PromoteRequest{}, wire.OwnerStatus{}, a.promote, nil},
		{"POST " + wire.PathOwnerDead, admin, "The administrator's word that a head is off", wire.ConfirmDead{}, wire.OwnerStatus{}, a.confirmDead, nil},
		{"POST " + wire.PathOwnerFence + "{head}", admin, "Ask a head's fence devices how it is; switches nothing off", nil, []wire.FenceState{}, a.testFence, nil},
		{"GET " + wire.PathFenceAgents, admin, "List the fence agents that this head has", nil, []string{}, a.fenceAgents, nil},
		{"GET " + wire.PathFenceAgent + "{name}", admin, "Show what a fence agent is and takes", nil, wire.FenceAgent{}, a.fenceAgent, nil},
		{"POST " + wire.PathService + "{name}", admin, "Enable, disable, stop or relocate a service", wire.ServiceChange{}, wire.ServiceChanged{}, a.changeService, nil},
	}
}

// dataRoutes are the API of the replicated data.
func (a *api) dataRoutes() []route {
	return []route{
		{"GET " + wire.PathData, admin, "The heads' copies of the replicated data", nil, []wire.DataVolume{}, a.data, nil},
		{"POST " + wire.PathDataVolume + "{volume}", admin, "Create, connect or verify a volume, or say which copy counts", wire.DataChange{}, wire.DataChanged{}, a.changeData, nil},
	}
}

// ownerPeerRoutes are what another head asks of the daemon here.
func (h *Head) ownerPeerRoutes() []peerRoute {
	serve := func(f func(r *http.Request) (any, error)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			out, err := f(r)
			if err != nil {
				writeProblem(w, err)
				return
			}
			writeJSON(w, http.StatusOK, out)
		})
	}
	return append(h.snapshotPeerRoutes(serve), []peerRoute{
		{"GET " + wire.PathPeerOwner, serve(func(r *http.Request) (any, error) {
			s, err := h.owner.Owner(r.Context())
			if err != nil {
				return nil, h.ownerGone(err)
			}
			return s, nil
		})},
		{"POST " + wire.PathPeerOwner + "/switch", serve(func(r *http.Request) (any, error) {
			req, err := decode[wire.SwitchRequest](r)
			if err != nil {
				return nil, err
			}
			return h.switchHere(r.Context(), req)
		})},
		{"GET " + wire.PathPeerOwner + "/data", serve(func(r *http.Request) (any, error) { return h.ownData(r.Context()) })},
		{"POST " + wire.PathPeerOwner + "/data/{volume}", serve(func(r *http.Request) (any, error) {
			req, err := decode[wire.DataChange](r)
			if err != nil {
				return nil, err
			}
			return h.changeOwnData(r.Context(), r.PathValue("volume"), req)
		})},
	}...)
}

func (a *api) owner(ctx context.Context, _ caller, _ *http.Request) (any, error) {
	return a.head.ownerStatus(ctx)
}

// ownerStatus is ownership as this head sees it, with the services and monitors as the owner sees them.
func (h *Head) ownerStatus(ctx context.Context) (wire.OwnerStatus, error) {
	s, err := h.owner.Owner(ctx)
	if err != nil {
		return s, h.ownerGone(err)
	}
	if doc, _, err := h.clusterConfig(); err == nil {
		for _, name := range h.missingSecrets(doc.Text) {
			s.Trouble = append(s.Trouble, fmt.Sprintf("configuration: secret %s is not there: masthead cluster secret %s --file FILE", name, name))
		}
	}
	if s.Owner == "" || s.Owner == h.cfg.Name {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ownerWait)
	defer cancel()
	there, err := askPeer[wire.OwnerStatus](ctx, h, s.Owner, http.MethodGet, wire.PathPeerOwner, nil)
	if err != nil {
		s.Trouble = append(s.Trouble, fmt.Sprintf("%s owns the cluster, and does not say how its services are: %v", s.Owner, err))
		return s, nil
	}
	s.Services = there.Services
	for _, m := range there.Monitors { // what runs on several heads is shown as the owner sees it
		i := slices.IndexFunc(s.Monitors, func(own wire.MonitorState) bool { return own.Name == m.Name })
		switch {
		case i < 0:
			s.Monitors = append(s.Monitors, m)
		case m.State != "":
			s.Monitors[i] = m
		}
	}
	return s, nil
}

// ownerGone is the answer where the daemon of this head has refused, or cannot be reached.
func (h *Head) ownerGone(err error) error {
	var p *wire.ProblemError
	switch {
	case errors.As(err, &p):
		return &problem{p.Status, p.Detail, p.Try()}
	case timedOut(err):
		return &problem{http.StatusGatewayTimeout, "the owner daemon of " + h.cfg.Name + " does not answer in time",
			"systemctl restart masthead-owner.service, on " + h.cfg.Name}
	}
	return &problem{http.StatusServiceUnavailable, "the owner daemon of " + h.cfg.Name + " does not run: " + cause(err).Error(),
		"systemctl start masthead-owner.service, on " + h.cfg.Name}
}

// cause is what is at the bottom of an error: no such file, connection refused.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func (a *api) switchOwner(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.SwitchRequest](r)
	if err != nil {
		return nil, err
	}
	return a.head.switchOwner(ctx, c, req)
}

// switchOwner has the owner hand over, wherever it is.
func (h *Head) switchOwner(ctx context.Context, c caller, req wire.SwitchRequest) (wire.SwitchAnswer, error) {
	s, err := h.owner.Owner(ctx)
	if err != nil {
		return wire.SwitchAnswer{}, h.ownerGone(err)
	}
	if !req.DryRun {
		text := fmt.Sprintf("switch from %s to %s", s.Owner, cmp.Or(req.To, "another head"))
		if req.Why != "" {
			text += ": " + req.Why
		}
		h.note(ctx, c, text)
	}
	if s.Owner == "" || s.Owner == h.cfg.Name {
		return h.switchHere(ctx, req)
	}
	answer, err := askPeer[wire.SwitchAnswer](ctx, h, s.Owner, http.MethodPost, wire.PathPeerOwner+"/switch", req)
	var p *wire.ProblemError
	switch {
	case errors.As(err, &p):
		return answer, &problem{p.Status, p.Detail, p.Try()}
	case err != nil:
		return answer, &problem{http.StatusBadGateway, fmt.Sprintf("%s owns the cluster, and only it can hand over: %v", s.Owner, err), "masthead status --why"}
	}
	return answer, nil
}

// switchHere has the daemon of this head hand over.
func (h *Head) switchHere(ctx context.Context, req wire.SwitchRequest) (wire.SwitchAnswer, error) {
	answer, err := h.owner.Switch(ctx, req)
	if err != nil {
		return answer, h.ownerGone(err)
	}
	return answer, nil
}

func (a *api) promote(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.PromoteRequest](r)
	if err != nil {
		return nil, err
	}
	a.head.note(ctx, c, fmt.Sprintf("promote %s, force %t", a.head.cfg.Name, req.Force))
	s, err := a.head.owner.Promote(ctx, req)
	if err != nil {
		return nil, a.head.ownerGone(err)
	}
	return s, nil
}

func (a *api) confirmDead(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.ConfirmDead](r)
	if err != nil {
		return nil, err
	}
	if req.By == "" {
		req.By = c.origin().Who + " (" + c.origin().Where + ")"
	}
	a.head.note(ctx, c, "confirm that "+req.Head+" is off")
	s, err := a.head.owner.ConfirmDead(ctx, req)
	if err != nil {
		return nil, a.head.ownerGone(err)
	}
	return s, nil
}

// note enters in the audit log what changes nothing in the state. What a person does in an emergency is not refused because
// the disk is full; then it is in the events alone.
func (h *Head) note(ctx context.Context, c caller, text string) {
	if err := h.db.Note(ctx, c.origin(), text); err != nil {
		h.event(fmt.Sprintf("not in the audit log: %s: %v", text, err), true)
	}
}

// wishOf are the wishes by the actions of clusvcadm(8).
var wishOf = map[string]string{"enable": wanted.Enabled, "disable": wanted.Disabled, "stop": wanted.Stopped}

func (a *api) changeService(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.ServiceChange](r)
	if err != nil {
		return nil, err
	}
	h, name := a.head, r.PathValue("name")
	if err := h.mayChange(); err != nil {
		return nil, err
	}
	doc, err := h.document()
	if err != nil {
		return nil, err
	}
	if _, ok := serviceOf(doc, name); !ok {
		return nil, &problem{http.StatusNotFound, fmt.Sprintf("there is no service %q", name), "masthead service list"}
	}
	if req.Action == "relocate" {
		return h.relocate(ctx, c, doc, name, req)
	}
	wish, ok := wishOf[req.Action]
	if !ok {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("action %q: want enable, disable, stop or relocate", req.Action), ""}
	}
	changed := wire.ServiceChanged{Name: name, Wish: wish, Before: h.wish(name)}
	if req.DryRun {
		return changed, nil
	}
	op, err := state.Put(state.KindService, name, ownership.Wish{Wish: wish, At: a.now().UTC()})
	if err != nil {
		return nil, err
	}
	ack, err := h.store().Apply(ctx, c.origin(), op)
	if err != nil {
		return nil, err
	}
	changed.Applied, changed.Degraded = true, ack.Degraded
	return changed, nil
}

// wish is what was last wanted of a service; empty: nothing.
func (h *Head) wish(name string) string {
	rec, err := h.db.Get(state.Key{Kind: state.KindService, Name: name})
	if err != nil {
		return ""
	}
	w, err := state.Decode[ownership.Wish](rec)
	if err != nil {
		return ""
	}
	return w.Wish
}
