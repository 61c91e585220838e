package appliance

import (
	"context"
	"errors"
	"sync"

	"masthead/node/wire"
)

// membership is how this head stands to its cluster, while it runs.
type membership struct {
	mu          sync.Mutex
	file        memberFile
	began       phase  // the phase in which Run began: what a head serves is chosen then
	step        string // what is done at the moment
	done, total int
	reason, try string // why it does not go on
	restart     func(error)
	kick        chan struct{} // the membership's service looks at once
	wants       bool          // to join the cluster that the configuration names
	closing     bool          // it is about to leave: what it took now would be lost
	busy        sync.Mutex    // held by whoever changes the set of heads
	keys        sync.Mutex    // held while the cluster's keys are taken over
}

// ErrRestart is what Run returns when the head has to be opened anew: it has another cluster.
var ErrRestart = errors.New("the head has to start again: its cluster has changed")

func (m *membership) phase() phase {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file.Phase
}

// rebuilds reports whether the state is fetched that this head had before.
func (m *membership) rebuilds() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file.Rebuild
}

// note tells what is done at the moment.
func (m *membership) note(step string, done, total int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.step, m.done, m.total, m.reason, m.try = step, done, total, "", ""
}

// stuck tells why it does not go on, and whether that is news.
func (m *membership) stuck(err error) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	news = m.reason != err.Error()
	m.reason, m.try = err.Error(), tryOf(err)
	return news
}

func tryOf(err error) string {
	var t interface{ Try() string }
	if errors.As(err, &t) {
		return t.Try()
	}
	return ""
}

// setPhase writes the phase down, and then has it.
func (h *Head) setPhase(f memberFile) error {
	if err := writeMember(h.cfg.StateDir, f); err != nil {
		return err
	}
	h.member.mu.Lock()
	defer h.member.mu.Unlock()
	h.member.file = f
	return nil
}

// restartable is ctx for Run: it ends when restart is called, too.
func (h *Head) restartable(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	h.member.mu.Lock()
	defer h.member.mu.Unlock()
	h.member.restart, h.member.began = stop, h.member.file.Phase
	return ctx, func() { stop(nil) }
}

// Serve opens a head and runs it until ctx ends, and opens it anew when its cluster has changed.
func Serve(ctx context.Context, cfg Config) error {
	for {
		h, err := New(cfg)
		if err != nil {
			return err
		}
		err = h.Run(ctx)
		if e := h.Close(); !errors.Is(err, ErrRestart) || e != nil || ctx.Err() != nil {
			if errors.Is(err, ErrRestart) {
				err = nil
			}
			return errors.Join(err, e)
		}
		if h.member.phase() == phaseLeft {
			cfg.Join = false // who has left does not come back by itself
		}
	}
}

// restart ends Run with ErrRestart.
func (h *Head) restart() {
	h.member.mu.Lock()
	defer h.member.mu.Unlock()
	if h.member.restart != nil {
		h.member.restart(ErrRestart)
	}
}

// close makes this head take nothing more from anybody, or take it again.
func (m *membership) close(closing bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closing = closing
}

func (m *membership) isClosing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closing
}

// serves reports whether this head serves machines: not while it does not know the whole state of its cluster, nor
// after it was taken out of it.
func (h *Head) serves() bool {
	switch h.member.phase() {
	case phaseNone, phaseLeaving:
		return !h.wantsToJoin()
	}
	return false
}

// solo reports whether this is the only configured head.
func (h *Head) solo() bool { return len(h.peerRecords()) == 0 }

// membershipNow is for people.
func (h *Head) membershipNow() wire.Membership {
	heads, wants := h.headNames(), h.wantsToJoin()
	h.member.mu.Lock()
	defer h.member.mu.Unlock()
	m := &h.member
	now := wire.Membership{Name: h.cfg.Name, Heads: heads, Step: m.step, Done: m.done, Total: m.total, Reason: m.reason, Try: m.try,
		Export: m.file.Export, Since: m.file.Since}
	switch m.file.Phase {
	case phaseAccepted, phaseSyncing:
		now.State = wire.MemberJoining
	case phaseLeaving, phaseLeft:
		now.State = wire.MemberLeaving
	case phaseRemoved:
		now.State, now.Reason, now.Try = wire.MemberRemoved, m.file.Reason, tryRejoin
	default:
		now.State = wire.MemberSolo
		if len(heads) > 1 {
			now.State = wire.MemberHead
		}
		switch {
		case wants:
			now.State = wire.MemberJoining
		case m.began != phaseNone: // nobody can use it before restart has been through
			now.State, now.Step = wire.MemberJoining, "starts again as a head of its cluster"
		}
	}
	return now
}

const tryRejoin = "masthead head token on a head of the cluster, then here: masthead head join ADDRESS --token-file FILE"
