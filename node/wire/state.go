package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Paths of the replicated state as a whole; all for the administrator.
const (
	PathStateHash   = "/api/v1/state/hash"   // GET StateHash: of the head that answers
	PathStateVerify = "/api/v1/state/verify" // GET StateVerify: of all heads
	PathStateDiff   = "/api/v1/state/diff/"  // HEAD: GET []StateDiff
	PathStateExport = "/api/v1/state/export" // GET, the file of an export; ?secrets=true has the secrets in it
	PathStateImport = "/api/v1/state/import" // POST that file → StateImported; ?dry_run=true changes nothing, ?prune=true deletes what it lacks
)

// MaxStateFile bounds an export: a state of 10,000 nodes has about 40 MiB.
const MaxStateFile = 512 << 20

// StateHash is one head's state in short.
type StateHash struct {
	Head     string    `json:"head"`
	Root     string    `json:"root,omitempty"` // SHA-256 over all records; equal roots mean equal states
	Records  int       `json:"records,omitempty"`
	Newest   time.Time `json:"newest,omitzero"`    // last write
	Equal    bool      `json:"equal"`              // the same as that of the head that answers
	Differ   int       `json:"differ,omitempty"`   // keys that differ from those of the head that answers
	Error    string    `json:"error,omitempty"`    // why it cannot be told
	Complete bool      `json:"complete"`           // it has had all that the others have; told of the head that answers
	Epoch    uint64    `json:"epoch,omitempty"`    // told of the head that answers
	Horizon  time.Time `json:"horizon,omitzero"`   // deletions up to then are forgotten; told of the head that answers
	Damage   string    `json:"damage,omitempty"`   // what was wrong with its file when it started
	ReadOnly string    `json:"readonly,omitempty"` // why it takes no writes
}

// StateVerify compares all heads.
type StateVerify struct {
	Equal bool        `json:"equal"` // all answered, and all have the same
	Heads []StateHash `json:"heads"` // the one that answers is first
}

// StateDiff is a key of which two sides do not hold the same. What a side does not have is nil.
type StateDiff struct {
	Key    string      `json:"key"`
	Ours   *StateValue `json:"ours"`
	Theirs *StateValue `json:"theirs"`
}

// StateValue is one side of it.
type StateValue struct {
	Version string          `json:"version"`
	Time    time.Time       `json:"time"`
	Deleted bool            `json:"deleted,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"` // "(secret)" for a secret; absent if it could not be had
}

// StateImported is what an import does or did.
type StateImported struct {
	Changes []StateDiff `json:"changes"` // Ours is what the cluster has, Theirs what the file has
	Applied bool        `json:"applied"`
}

// StateHash asks for the state of the head that answers in short.
func (c *Client) StateHash(ctx context.Context) (StateHash, error) {
	return ask[StateHash](ctx, c, http.MethodGet, PathStateHash, nil)
}

// StateVerify compares the states of all heads. It takes up to about two seconds if they differ.
func (c *Client) StateVerify(ctx context.Context) (StateVerify, error) {
	return ask[StateVerify](ctx, c, http.MethodGet, PathStateVerify, nil)
}

// StateDiff lists what another head holds differently.
func (c *Client) StateDiff(ctx context.Context, head string) ([]StateDiff, error) {
	return ask[[]StateDiff](ctx, c, http.MethodGet, PathStateDiff+url.PathEscape(head), nil)
}

// StateExport writes the file of an export to w. Only ctx bounds the time, as long as bytes come.
func (c *Client) StateExport(ctx context.Context, secrets bool, w io.Writer) error {
	path := fmt.Sprintf("%s?secrets=%t", PathStateExport, secrets)
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("GET %s: read the export: %w", c.Base+path, err)
	}
	return nil
}

// StateImport brings the state to what a file of an export says, or tells what that would change.
func (c *Client) StateImport(ctx context.Context, file io.Reader, prune, dryRun bool) (StateImported, error) {
	var out StateImported
	path := fmt.Sprintf("%s?prune=%t&dry_run=%t", PathStateImport, prune, dryRun)
	resp, err := c.do(ctx, http.MethodPost, path, file)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, MaxStateFile)).Decode(&out); err != nil {
		return out, fmt.Errorf("POST %s: the answer is not what was expected: %w", c.Base+path, err)
	}
	return out, nil
}
