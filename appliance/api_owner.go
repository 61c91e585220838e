package appliance

import (
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
		{"POST " + wire.PathService + "{name}", admin, "Enable, disable, stop or relocate a service", wire.ServiceChange{}, wire.ServiceChanged{}, a.changeService, nil},
	}
}

// ownerAPI is the API of the daemon on another head.
func (h *Head) ownerPeerRoutes(a *api) []peerRoute {
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
	return []peerRoute{
		{"GET " + wire.PathPeerOwner, serve(func(r *http.Request) (any, error) { return h.owner.Owner(r.Context()) })},
		{"POST " + wire.PathPeerOwner + "/switch", serve(func(r *http.Request) (any, error) {
			req, err := decode[wire.SwitchRequest](r)
			if err != nil {
				return nil, err
			}
			return h.owner.Switch(r.Context(), req)
		})},
	}
}

// owner is ownership as this head sees it, with the services and monitors as the owner sees them.
func (a *api) owner(ctx context.Context, _ caller, _ *http.Request) (any, error) {
	return a.head.ownerStatus(ctx)
}

func (h *Head) ownerStatus(ctx context.Context) (wire.OwnerStatus, error) {
	s, err := h.owner.Owner(ctx)
	if err != nil {
		return s, ownerGone(err)
	}
	if s.Owner == "" || s.Owner == h.cfg.Name {
		return s, nil
	}
	there, err := askPeer[wire.OwnerStatus](ctx, h, s.Owner, http.MethodGet, wire.PathPeerOwner, nil)
	if err != nil {
		s.Trouble = append(s.Trouble, fmt.Sprintf("%s owns the cluster, and does not say how its services are: %v", s.Owner, err))
		return s, nil
	}
	s.Services = there.Services
	for _, m := range there.Monitors { // monitors that run on several heads are shown as the owner sees them
		i := slices.IndexFunc(s.Monitors, func(own wire.MonitorState) bool { return own.Name == m.Name })
		if i >= 0 && m.State != "" {
			s.Monitors[i] = m
		}
	}
	return s, nil
}

// ownerGone is the answer where the daemon cannot be reached.
func ownerGone(err error) error {
	var p *wire.ProblemError
	if errors.As(err, &p) {
		return &problem{p.Status, p.Detail, p.Try()}
	}
	return &problem{http.StatusServiceUnavailable, fmt.Sprintf("the owner daemon of this head does not answer: %v", err),
		"systemctl status masthead-owner.service, or masthead owner run"}
}

func (a *api) switchOwner(ctx context.Context, _ caller, r *http.Request) (any, error) {
	req, err := decode[wire.SwitchRequest](r)
	if err != nil {
		return nil, err
	}
	return a.head.switchOwner(ctx, req)
}

// switchOwner has the owner hand over, wherever it is.
func (h *Head) switchOwner(ctx context.Context, req wire.SwitchRequest) (wire.SwitchAnswer, error) {
	s, err := h.owner.Owner(ctx)
	if err != nil {
		return wire.SwitchAnswer{}, ownerGone(err)
	}
	if s.Owner == "" || s.Owner == h.cfg.Name {
		answer, err := h.owner.Switch(ctx, req)
		if err != nil {
			return answer, ownerGone(err)
		}
		return answer, nil
	}
	answer, err := askPeer[wire.SwitchAnswer](ctx, h, s.Owner, http.MethodPost, wire.PathPeerOwner+"/switch", req)
	var p *wire.ProblemError
	if errors.As(err, &p) {
		return answer, &problem{p.Status, p.Detail, p.Try()}
	}
	return answer, err
}

func (a *api) promote(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.PromoteRequest](r)
	if err != nil {
		return nil, err
	}
	if err := a.head.note(ctx, c, fmt.Sprintf("promote %s, force %t", a.head.cfg.Name, req.Force)); err != nil {
		return nil, err
	}
	s, err := a.head.owner.Promote(ctx, req)
	if err != nil {
		return nil, ownerGone(err)
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
	if err := a.head.note(ctx, c, "confirm that "+req.Head+" is off"); err != nil {
		return nil, err
	}
	s, err := a.head.owner.ConfirmDead(ctx, req)
	if err != nil {
		return nil, ownerGone(err)
	}
	return s, nil
}

// note enters in the audit log what changes nothing in the state.
func (h *Head) note(ctx context.Context, c caller, text string) error {
	return h.db.Note(ctx, c.origin(), text)
}

func (a *api) testFence(ctx context.Context, _ caller, r *http.Request) (any, error) {
	all, err := a.head.owner.FenceTest(ctx, r.PathValue("head"))
	if err != nil {
		return nil, ownerGone(err)
	}
	return all, nil
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
	if err := h.knowsService(name); err != nil {
		return nil, err
	}
	if req.Action == "relocate" {
		// All that the owner holds moves together: a service on another head than the virtual address is nobody's.
		switched, err := h.switchOwner(ctx, wire.SwitchRequest{To: req.To, Why: "service " + name + " is relocated", DryRun: req.DryRun})
		if err != nil {
			return nil, err
		}
		return wire.ServiceChanged{Name: name, Applied: !req.DryRun, Switched: &switched}, nil
	}
	wish, ok := wishOf[req.Action]
	if !ok {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("action %q: want enable, disable, stop or relocate", req.Action), ""}
	}
	changed := wire.ServiceChanged{Name: name, Wish: wish}
	if rec, err := h.db.Get(state.Key{Kind: state.KindService, Name: name}); err == nil {
		if w, err := state.Decode[ownership.Wish](rec); err == nil {
			changed.Before = w.Wish
		}
	}
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

// knowsService refuses the name of a service that is not configured.
func (h *Head) knowsService(name string) error {
	conf, err := h.ownerConfig()
	if err != nil {
		return err
	}
	names, err := conf.ServiceNames()
	if err != nil {
		return err
	}
	if !slices.Contains(names, name) {
		return &problem{http.StatusNotFound, fmt.Sprintf("there is no service %q", name), "masthead service list"}
	}
	return nil
}
