package wire

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Paths of the heads' API.
const (
	PathHeads       = "/api/v1/heads"         // GET []HeadStatus; administrator
	PathHeadToken   = "/api/v1/heads/token"   // POST, JoinToken; administrator
	PathHeadSelf    = "/api/v1/heads/self"    // GET Membership; administrator
	PathHeadAccept  = "/api/v1/heads/accept"  // POST JoinRequest → JoinAnswer; the join token is in it
	PathHeadJoin    = "/api/v1/heads/join"    // POST JoinStart → Membership; administrator
	PathHeadLeave   = "/api/v1/heads/leave"   // POST HeadChange → HeadChanged; administrator
	PathHeadEject   = "/api/v1/heads/eject/"  // NAME: POST HeadChange → HeadChanged; administrator
	PathHeadRecover = "/api/v1/heads/recover" // POST HeadChange → HeadChanged; administrator
	PathInstall     = "/install/masthead"     // GET, this program
	PlainInstall    = "/install/head"         // Plain: GET, a script that makes a Debian server a head

	PathPeer      = "/peer/v1/"              // for heads, by their certificates
	PathPeerView  = PathPeer + "heads"       // GET PeerView
	PathPeerSlots = PathPeer + "heads/slots" // POST SlotsWanted → SlotsGiven: some of the slots of whoever is asked
	PathPeerLeave = PathPeer + "heads/leave" // POST: the caller leaves
)

// PeerView is what one head tells another that it knows as configured.
type PeerView struct {
	Name    string    `json:"name"`
	Time    time.Time `json:"time"`
	Version string    `json:"version"`
	Joining bool      `json:"joining,omitempty"` // it does not have the whole state yet
	Records []byte    `json:"records"`           // of the heads and of the gossip key, as heads send records
}

// SlotsWanted asks for that many slots at most.
type SlotsWanted struct {
	Want int `json:"want"`
}

// SlotsGiven are the slots that the caller has now.
type SlotsGiven struct {
	Slots []int `json:"slots"`
}

// JoinToken lets one machine join the cluster as a head.
type JoinToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// Heads lists the configured heads as the one that answers sees them.
func (c *Client) Heads(ctx context.Context) ([]HeadStatus, error) {
	return ask[[]HeadStatus](ctx, c, http.MethodGet, PathHeads, nil)
}

// HeadToken makes a token with which one machine can join as a head.
func (c *Client) HeadToken(ctx context.Context) (JoinToken, error) {
	return ask[JoinToken](ctx, c, http.MethodPost, PathHeadToken, nil)
}

// ForgetHeadToken takes a token back, by the id in it.
func (c *Client) ForgetHeadToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, PathHeadToken+"/"+url.PathEscape(id), nil, nil)
}

// Membership is how the head that answers stands to its cluster.
func (c *Client) Membership(ctx context.Context) (Membership, error) {
	return ask[Membership](ctx, c, http.MethodGet, PathHeadSelf, nil)
}

// AcceptHead asks a head of a cluster to take the caller in.
func (c *Client) AcceptHead(ctx context.Context, r JoinRequest) (JoinAnswer, error) {
	return ask[JoinAnswer](ctx, c, http.MethodPost, PathHeadAccept, r)
}

// JoinHead tells a head to join a cluster, or to say what it would give up (DryRun). The join goes on after the answer:
// Membership tells how far it is.
func (c *Client) JoinHead(ctx context.Context, s JoinStart) (Membership, error) {
	return ask[Membership](ctx, c, http.MethodPost, PathHeadJoin, s)
}

// LeaveHead tells a head to leave its cluster. It goes on after the answer: Membership tells how far it is.
func (c *Client) LeaveHead(ctx context.Context, h HeadChange) (HeadChanged, error) {
	return ask[HeadChanged](ctx, c, http.MethodPost, PathHeadLeave, h)
}

// EjectHead takes a head that is dead out of the cluster.
func (c *Client) EjectHead(ctx context.Context, name string, h HeadChange) (HeadChanged, error) {
	return ask[HeadChanged](ctx, c, http.MethodPost, PathHeadEject+url.PathEscape(name), h)
}

// RecoverHead makes the head that answers the only one of its cluster.
func (c *Client) RecoverHead(ctx context.Context, h HeadChange) (HeadChanged, error) {
	return ask[HeadChanged](ctx, c, http.MethodPost, PathHeadRecover, h)
}
