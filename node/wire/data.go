package wire

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// DataVolume is one head's copy of a replicated volume.
type DataVolume struct {
	Name  string `json:"name"`
	Head  string `json:"head"`
	State string `json:"state"` // up to date, syncing, outdated, unknown, diverged, alone, none
	// In DRBD's words. Role is empty where DRBD has no such volume.
	Role        string `json:"role,omitempty"`
	Connection  string `json:"connection,omitempty"`
	Disk        string `json:"disk,omitempty"`
	Replication string `json:"replication,omitempty"`
	Peer        string `json:"peer,omitempty"` // the head with the other copy
	PeerRole    string `json:"peer_role,omitempty"`
	PeerDisk    string `json:"peer_disk,omitempty"`
	Frozen      bool   `json:"frozen,omitempty"` // writes wait for leave to go on without the other copy
	// Word says by what this head may write without the other copy, or what is missing.
	Word       string `json:"word,omitempty"`
	Size       int64  `json:"size,omitempty"`        // bytes
	OutOfSync  int64  `json:"out_of_sync,omitempty"` // bytes that differ from the other copy
	Generation string `json:"generation,omitempty"`

	// A resync or a verification that runs.
	Done      float64 `json:"done,omitempty"`      // percent
	Rate      float64 `json:"rate,omitempty"`      // bytes a second
	Remaining float64 `json:"remaining,omitempty"` // seconds; 0: unknown

	// Verified is when the two copies were last compared, and Differences how many bytes differed.
	Verified    time.Time `json:"verified,omitzero"`
	Differences int64     `json:"differences,omitempty"`

	Device     string   `json:"device"`            // that holds the copy
	Filesystem string   `json:"filesystem"`        // btrfs or ext4
	Folders    []string `json:"folders,omitempty"` // that live on the volume
	// SnapshotsBy is what keeps its earlier states: btrfs, lvm; empty: nothing does.
	SnapshotsBy string `json:"snapshots_by,omitempty"`
	Doing       string `json:"doing,omitempty"` // the step under way, or why there is none
	Trouble     string `json:"trouble,omitempty"`
}

// RoleUnknown is the role of a copy of which DRBD has not said it, or whose head does not answer.
const RoleUnknown = "Unknown"

// DataChange is something to be done to a volume.
type DataChange struct {
	Action string `json:"action"`         // create, connect, verify, discard
	Keep   string `json:"keep,omitempty"` // resolve: the head whose copy counts
	DryRun bool   `json:"dry_run,omitempty"`
}

// DataChanged is the answer.
type DataChanged struct {
	Volume  string   `json:"volume"`
	Does    []string `json:"does"` // what was begun, or would be, each with its head
	Applied bool     `json:"applied"`
}

// DataAsk is what DRBD's kernel asks or tells through its handler.
type DataAsk struct {
	Handler  string `json:"handler"` // fence-peer, split-brain, …
	Resource string `json:"resource"`
}

// DataAnswer is the exit code for it; Again: there is no answer yet.
type DataAnswer struct {
	Code  int    `json:"code"`
	Why   string `json:"why,omitempty"`
	Again bool   `json:"again,omitempty"`
}

// Paths of the replicated data.
const (
	PathData        = "/api/v1/data"
	PathDataVolume  = PathData + "/"              // NAME
	PathOwnerData   = PathOwner + "/data"         // on the socket only: this head's copies
	PathOwnerVolume = PathOwnerData + "/"         // NAME
	PathOwnerAsk    = PathOwner + "/data-handler" // on the socket only: what DRBD asks
)

// Data are the copies of all heads that answer.
func (c *Client) Data(ctx context.Context) ([]DataVolume, error) {
	return ask[[]DataVolume](ctx, c, http.MethodGet, PathData, nil)
}

// ChangeData does something to a volume, or says what that would be.
func (c *Client) ChangeData(ctx context.Context, volume string, change DataChange) (DataChanged, error) {
	return ask[DataChanged](ctx, c, http.MethodPost, PathDataVolume+url.PathEscape(volume), change)
}

// OwnData are the copies of one head; for the head on the same machine.
func (c *Client) OwnData(ctx context.Context) ([]DataVolume, error) {
	return ask[[]DataVolume](ctx, c, http.MethodGet, PathOwnerData, nil)
}

// ChangeOwnData does something to the copy of one head; for the head on the same machine.
func (c *Client) ChangeOwnData(ctx context.Context, volume string, change DataChange) (DataChanged, error) {
	return ask[DataChanged](ctx, c, http.MethodPost, PathOwnerVolume+url.PathEscape(volume), change)
}

// AskData passes on what DRBD asks. It waits a while for the answer.
func (c *Client) AskData(ctx context.Context, q DataAsk) (DataAnswer, error) {
	return ask[DataAnswer](ctx, c, http.MethodPost, PathOwnerAsk, q)
}

// DataSnapshot is a kept state of a volume.
type DataSnapshot struct {
	Volume string    `json:"volume"`
	Name   string    `json:"name"`
	Kind   string    `json:"kind"` // manual, every-1h, resync, upgrade, rollback
	Time   time.Time `json:"time"`
	// Used is how many bytes are there for this one alone: what its removal gives back. 0: it is not known.
	Used int64 `json:"used,omitempty"`
}

// SnapshotChange makes one, removes one, or has the volume go back to one.
type SnapshotChange struct {
	Action string `json:"action"`         // create, rm, rollback
	Name   string `json:"name,omitempty"` // create: its kind
	DryRun bool   `json:"dry_run,omitempty"`
}

// SnapshotChanged is the answer. A volume goes back when the service named in Restart is started again.
type SnapshotChanged struct {
	Volume  string   `json:"volume"`
	Name    string   `json:"name"`
	Does    []string `json:"does"`
	Restart string   `json:"restart,omitempty"`
	Applied bool     `json:"applied"`
}

// DataDifferences are the files that are not the same in a snapshot and now.
type DataDifferences struct {
	Files []DataDifference `json:"files"`
	More  bool             `json:"more,omitempty"` // than these
}

// DataDifference is one of them.
type DataDifference struct {
	What string `json:"what"` // added, removed, changed
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// Paths of snapshots, below that of a volume: on the API of a head, of another head, and on the socket.
const (
	PathSnapshots    = "/snapshots"
	PathSnapshotDiff = "/snapshots/" // NAME
)

// Snapshots are those of a volume, oldest first.
func (c *Client) Snapshots(ctx context.Context, volume string) ([]DataSnapshot, error) {
	return ask[[]DataSnapshot](ctx, c, http.MethodGet, PathDataVolume+url.PathEscape(volume)+PathSnapshots, nil)
}

// ChangeSnapshots makes, removes, or has the volume go back to one.
func (c *Client) ChangeSnapshots(ctx context.Context, volume string, change SnapshotChange) (SnapshotChanged, error) {
	return ask[SnapshotChanged](ctx, c, http.MethodPost, PathDataVolume+url.PathEscape(volume)+PathSnapshots, change)
}

// SnapshotDiff is what has changed since a snapshot.
func (c *Client) SnapshotDiff(ctx context.Context, volume, name string) (DataDifferences, error) {
	return ask[DataDifferences](ctx, c, http.MethodGet, PathDataVolume+url.PathEscape(volume)+PathSnapshotDiff+url.PathEscape(name), nil)
}

// OwnSnapshots and the two after it are the same of the head on the same machine.
func (c *Client) OwnSnapshots(ctx context.Context, volume string) ([]DataSnapshot, error) {
	return ask[[]DataSnapshot](ctx, c, http.MethodGet, PathOwnerVolume+url.PathEscape(volume)+PathSnapshots, nil)
}

// ChangeOwnSnapshots is ChangeSnapshots there.
func (c *Client) ChangeOwnSnapshots(ctx context.Context, volume string, change SnapshotChange) (SnapshotChanged, error) {
	return ask[SnapshotChanged](ctx, c, http.MethodPost, PathOwnerVolume+url.PathEscape(volume)+PathSnapshots, change)
}

// OwnSnapshotDiff is SnapshotDiff there.
func (c *Client) OwnSnapshotDiff(ctx context.Context, volume, name string) (DataDifferences, error) {
	return ask[DataDifferences](ctx, c, http.MethodGet, PathOwnerVolume+url.PathEscape(volume)+PathSnapshotDiff+url.PathEscape(name), nil)
}
