package appliance

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"masthead/appliance/state"
	"masthead/node/wire"
)

// headRoutes are the API of joining, leaving and looking at heads.
func (a *api) headRoutes() []route {
	return []route{
		{"GET " + wire.PathHeads, admin, "List the configured heads", nil, []wire.HeadStatus{}, a.heads, nil},
		{"GET " + wire.PathHeadSelf, admin, "How this head stands to its cluster", nil, wire.Membership{}, a.membership, nil},
		{"POST " + wire.PathHeadToken, admin, "Make a token with which one machine can join as a head", nil, wire.JoinToken{}, a.headToken, nil},
		{"DELETE " + wire.PathHeadToken + "/{id}", admin, "Take such a token back, by the id in it", nil, nil, a.forgetHeadToken, nil},
		{"POST " + wire.PathHeadAccept, anybody, "A machine with a join token asks to be taken in", wire.JoinRequest{}, wire.JoinAnswer{}, a.acceptHead, nil},
		{"POST " + wire.PathHeadJoin, admin, "Join the cluster of another head", wire.JoinStart{}, wire.Membership{}, a.joinHead, nil},
		{"POST " + wire.PathHeadLeave, admin, "Leave the cluster", wire.HeadChange{}, wire.HeadChanged{}, a.leaveHead, nil},
		{"POST " + wire.PathHeadEject + "{name}", admin, "Take a dead head out of the cluster", wire.HeadChange{}, wire.HeadChanged{}, a.ejectHead, nil},
		{"POST " + wire.PathHeadRecover, admin, "Make this head the only one, when all others are gone for good", wire.HeadChange{}, wire.HeadChanged{}, a.recoverHead, nil},
		{"GET " + wire.PathInstall, anybody, "The program of this head", nil, nil, nil, a.head.serveBinary},
	}
}

func (a *api) heads(context.Context, caller, *http.Request) (any, error) {
	return a.head.headStatus(a.now()), nil
}

func (a *api) membership(context.Context, caller, *http.Request) (any, error) {
	return a.head.membershipNow(), nil
}

func (a *api) headToken(ctx context.Context, c caller, _ *http.Request) (any, error) {
	if err := a.head.mayChange(); err != nil {
		return nil, err
	}
	return a.head.makeJoinToken(ctx, c.origin(), a.now())
}

func (a *api) forgetHeadToken(ctx context.Context, c caller, r *http.Request) (any, error) {
	_, err := a.head.store().Apply(ctx, c.origin(), state.Delete(state.KindSecret, joinPrefix+r.PathValue("id")))
	return nil, err
}

func (a *api) acceptHead(ctx context.Context, c caller, r *http.Request) (any, error) {
	req, err := decode[wire.JoinRequest](r)
	if err != nil {
		return nil, err
	}
	if err := a.head.mayChange(); err != nil {
		return nil, err
	}
	return a.head.acceptJoin(ctx, req, c.from, a.now())
}

func (a *api) joinHead(ctx context.Context, _ caller, r *http.Request) (any, error) {
	s, err := decode[wire.JoinStart](r)
	if err != nil {
		return nil, err
	}
	return a.head.join(ctx, s)
}

func (a *api) leaveHead(ctx context.Context, _ caller, r *http.Request) (any, error) {
	c, err := decode[wire.HeadChange](r)
	if err != nil {
		return nil, err
	}
	return a.head.leave(ctx, c)
}

func (a *api) ejectHead(ctx context.Context, who caller, r *http.Request) (any, error) {
	c, err := decode[wire.HeadChange](r)
	if err != nil {
		return nil, err
	}
	return a.head.eject(ctx, who.origin(), r.PathValue("name"), c)
}

func (a *api) recoverHead(ctx context.Context, who caller, r *http.Request) (any, error) {
	c, err := decode[wire.HeadChange](r)
	if err != nil {
		return nil, err
	}
	return a.head.recoverHere(ctx, who.origin(), c)
}

// headPeerRoutes are what heads ask of one another about heads.
func (h *Head) headPeerRoutes() []peerRoute {
	return []peerRoute{
		{"GET " + wire.PathPeerView, peerJSON(func(context.Context, string, *http.Request) (any, error) {
			return wire.PeerView{
				Name: h.cfg.Name, Time: time.Now().UTC(), Version: h.cfg.Version, Joining: h.member.phase() != phaseNone,
				Records: state.EncodeBatch(h.joinedRecords()),
			}, nil
		})},
		{"POST " + wire.PathPeerSlots, peerJSON(func(ctx context.Context, peer string, r *http.Request) (any, error) {
			want, err := decode[wire.SlotsWanted](r)
			if err != nil {
				return nil, err
			}
			slots, err := h.giveSlots(ctx, peer, want.Want)
			return wire.SlotsGiven{Slots: slots}, err
		})},
		{"POST " + wire.PathPeerLeave, peerJSON(func(ctx context.Context, peer string, _ *http.Request) (any, error) {
			return h.farewell(ctx, peer)
		})},
	}
}

// peerJSON serves one question of another head.
func peerJSON(answer func(ctx context.Context, peer string, r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		out, err := answer(r.Context(), peerName(r.Context()), r)
		if err != nil {
			writeProblem(w, err)
			return
		}
		writeJSON(w, http.StatusOK, out)
	})
}

// guard answers, while this head serves nobody, all but what changes that. A machine that gets such an answer asks
// another head.
func (h *Head) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if h.serves() && !h.member.isClosing() || strings.HasPrefix(path, wire.PathHeads) || strings.HasPrefix(path, wire.PathPeer) || path == wire.PathOpenAPI {
			next.ServeHTTP(w, r)
			return
		}
		now := h.membershipNow()
		if now.State == wire.MemberRemoved {
			writeProblem(w, &problem{http.StatusGone, now.Reason, now.Try})
			return
		}
		text := "this head joins a cluster and does not have its whole state yet"
		if h.member.rebuilds() {
			text = "this head has lost its state, and fetches it from the other heads"
		}
		if now.State == wire.MemberLeaving {
			text = "this head is leaving its cluster: ask another one"
		}
		if now.Reason != "" {
			text += ": " + now.Reason
		}
		writeProblem(w, &problem{http.StatusServiceUnavailable, text, orTry(now.Try, "masthead head list")})
	})
}

func orTry(try, other string) string {
	if try == "" {
		return other
	}
	return try
}

// headStatus is what this head sees of all configured ones.
func (h *Head) headStatus(now time.Time) []wire.HeadStatus {
	heads := h.heads()
	seen := h.replicaStatus()
	all := []wire.HeadStatus{}
	parents := map[string]int{}
	if nodes, err := h.reg.List("", now); err == nil {
		for _, n := range nodes {
			if n.Phase == wire.PhaseUp || n.Phase == wire.PhaseBooting {
				parents[n.Head]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(heads)) {
		s := seen[name]
		s.Name, s.HeadRecord, s.Self, s.Nodes = name, heads[name], name == h.cfg.Name, parents[name]
		if s.Self {
			s.Alive, s.Equal, s.Seen, s.Root, s.Reason = true, true, now.UTC(), h.root(), h.membershipNow().Reason
		}
		all = append(all, s)
	}
	return all
}
