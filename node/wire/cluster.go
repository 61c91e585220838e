package wire

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Paths of the cluster's configuration and of its services.
const (
	PathCluster       = "/api/v1/cluster"
	PathClusterSecret = PathCluster + "/secrets/" // NAME
	PathService       = "/api/v1/services/"       // NAME
	PathPeerOwner     = PathPeer + "owner"
)

// ClusterConfig is the document that says how the cluster is owned.
type ClusterConfig struct {
	Version int       `json:"version"` // counts the changes; 0: nobody has written one
	Text    string    `json:"text"`    // YAML
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

// DocumentName is what a head calls a document in what it finds wrong with it: "document:7: …". Its file is the client's.
const DocumentName = "document"

// ClusterChange asks for another document.
type ClusterChange struct {
	Text string `json:"text"`
	// Version is the one that Text was made from. If another one is in force meanwhile, nothing is changed. -1: any.
	Version int  `json:"version"`
	DryRun  bool `json:"dry_run,omitempty"`
}

// ClusterChanged is the answer.
type ClusterChanged struct {
	Version int      `json:"version"`
	Diff    []string `json:"diff,omitempty"`    // lines, with + and - before those that differ
	Warning []string `json:"warning,omitempty"` // what works, and is not what one wants
	Applied bool     `json:"applied"`
	// Degraded, if not empty, is why no other head has what was written yet.
	Degraded string `json:"degraded,omitempty"`
}

// ClusterSecret is the value of a secret that the document names. It is never given back.
type ClusterSecret struct {
	Value string `json:"value"`
}

// ClusterSecretKept is the answer to a secret that was given.
type ClusterSecretKept struct {
	Name     string `json:"name"`
	Named    bool   `json:"named"` // by the configuration in force
	Degraded string `json:"degraded,omitempty"`
}

// ClusterSecretState is a secret as it may be shown: without its value.
type ClusterSecretState struct {
	Name  string `json:"name"`
	Kept  bool   `json:"kept"`
	Named bool   `json:"named"` // by the configuration in force
}

// ClusterSecretRemoved is the answer to who has a secret removed.
type ClusterSecretRemoved struct {
	Name     string `json:"name"`
	Applied  bool   `json:"applied"`
	Degraded string `json:"degraded,omitempty"`
}

// ServiceChange asks for something of a service, as clusvcadm(8) does.
type ServiceChange struct {
	Action string `json:"action"`       // enable, disable, stop, relocate
	To     string `json:"to,omitempty"` // relocate: the head
	DryRun bool   `json:"dry_run,omitempty"`
}

// ServiceChanged is the answer.
type ServiceChanged struct {
	Name     string        `json:"name"`
	Wish     string        `json:"wish,omitempty"` // enabled, disabled, stopped
	Before   string        `json:"before,omitempty"`
	Applied  bool          `json:"applied"`
	Switched *SwitchAnswer `json:"switched,omitempty"` // relocate moves the whole ownership
	Degraded string        `json:"degraded,omitempty"`
}

// Owner is ownership as the head that is asked sees it.
func (c *Client) Owner(ctx context.Context) (OwnerStatus, error) {
	return ask[OwnerStatus](ctx, c, http.MethodGet, PathOwner, nil)
}

// OwnerEvents are what happened after the event of that number. It waits a while for something.
func (c *Client) OwnerEvents(ctx context.Context, after uint64) ([]OwnerEvent, error) {
	return ask[[]OwnerEvent](ctx, c, http.MethodGet, PathOwnerEvents+"?after="+strconv.FormatUint(after, 10), nil)
}

// Switch has the owner hand over. It waits until that is done: services may take a while to stop.
func (c *Client) Switch(ctx context.Context, r SwitchRequest) (SwitchAnswer, error) {
	return ask[SwitchAnswer](ctx, c, http.MethodPost, PathOwnerSwitch, r)
}

// Promote makes the head that is asked the owner, on a person's word.
func (c *Client) Promote(ctx context.Context, r PromoteRequest) (OwnerStatus, error) {
	return ask[OwnerStatus](ctx, c, http.MethodPost, PathOwnerPromote, r)
}

// ConfirmDead gives a person's word that a head is off.
func (c *Client) ConfirmDead(ctx context.Context, r ConfirmDead) (OwnerStatus, error) {
	return ask[OwnerStatus](ctx, c, http.MethodPost, PathOwnerDead, r)
}

// FenceTest asks the fence devices of a head for its status; it switches nothing off. It answers after some seconds also
// where devices take longer (FenceState.Asking): who asks again then waits for the same test.
func (c *Client) FenceTest(ctx context.Context, head string) ([]FenceState, error) {
	return ask[[]FenceState](ctx, c, http.MethodPost, PathOwnerFence+url.PathEscape(head), nil)
}

// FenceAgents are the names of the fence agents that the head has.
func (c *Client) FenceAgents(ctx context.Context) ([]string, error) {
	return ask[[]string](ctx, c, http.MethodGet, PathFenceAgents, nil)
}

// FenceAgent is what one of them is and takes.
func (c *Client) FenceAgent(ctx context.Context, name string) (FenceAgent, error) {
	return ask[FenceAgent](ctx, c, http.MethodGet, PathFenceAgent+url.PathEscape(name), nil)
}

// Cluster is the cluster's configuration.
func (c *Client) Cluster(ctx context.Context) (ClusterConfig, error) {
	return ask[ClusterConfig](ctx, c, http.MethodGet, PathCluster, nil)
}

// SetCluster changes it, or says what that would do.
func (c *Client) SetCluster(ctx context.Context, change ClusterChange) (ClusterChanged, error) {
	return ask[ClusterChanged](ctx, c, http.MethodPut, PathCluster, change)
}

// SetClusterSecret keeps a secret that the configuration names.
func (c *Client) SetClusterSecret(ctx context.Context, name, value string) (ClusterSecretKept, error) {
	return ask[ClusterSecretKept](ctx, c, http.MethodPut, PathClusterSecret+url.PathEscape(name), ClusterSecret{value})
}

// ClusterSecrets are the secrets that are kept and those that the configuration names, by name.
func (c *Client) ClusterSecrets(ctx context.Context) ([]ClusterSecretState, error) {
	return ask[[]ClusterSecretState](ctx, c, http.MethodGet, strings.TrimSuffix(PathClusterSecret, "/"), nil)
}

// RemoveClusterSecret removes one that the configuration does not name, or says what that would do.
func (c *Client) RemoveClusterSecret(ctx context.Context, name string, dryRun bool) (ClusterSecretRemoved, error) {
	query := ""
	if dryRun {
		query = "?dry_run=1"
	}
	return ask[ClusterSecretRemoved](ctx, c, http.MethodDelete, PathClusterSecret+url.PathEscape(name)+query, nil)
}

// ChangeService enables, disables, stops or relocates a service.
func (c *Client) ChangeService(ctx context.Context, name string, change ServiceChange) (ServiceChanged, error) {
	return ask[ServiceChanged](ctx, c, http.MethodPost, PathService+url.PathEscape(name), change)
}

// ReloadOwner tells an owner daemon that its configuration has changed; for the head on the same machine.
func (c *Client) ReloadOwner(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, PathOwnerReload, nil, nil)
}

// FenceOff begins to switch a head off, or tells how that goes: Power is off when it is proven. For the head on the same
// machine.
func (c *Client) FenceOff(ctx context.Context, head string) (FenceState, error) {
	return ask[FenceState](ctx, c, http.MethodPost, PathOwnerOff+head, nil)
}
