package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxEvent bounds one line of a command's answer: the plan of the largest cluster.
const maxEvent = 32 << 20

// sumOf is short enough to be sent with each sign of life, and long enough that two lists of heads never share it.
func sumOf(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:8]
}

// Command has nodes do something, and calls fn with each event until the last. input may be nil. Ending ctx kills what
// still runs on the nodes.
func (c *Client) Command(ctx context.Context, req CommandRequest, input io.Reader, fn func(CommandEvent) error) error {
	return c.commandStream(ctx, PathCommands, req, input, fn)
}

// PeerCommand has another head run a command on the nodes that are attached to it.
func (c *Client) PeerCommand(ctx context.Context, req PeerRequest, input io.Reader, fn func(CommandEvent) error) error {
	return c.commandStream(ctx, PathPeerCommands, req, input, fn)
}

// PeerAttached asks another head which machines are attached to it: seconds since each was heard, by MAC.
func (c *Client) PeerAttached(ctx context.Context, macs []string) (map[string]float64, error) {
	return ask[map[string]float64](ctx, c, http.MethodPost, PathPeerAttached, macs)
}

// Mine asks for what the head has for this machine.
func (c *Client) Mine(ctx context.Context) (Mine, error) {
	return ask[Mine](ctx, c, http.MethodGet, PathMine, nil)
}

// Input opens the input of a command. The caller closes it.
func (c *Client) Input(ctx context.Context, id string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, PathInput+id, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (c *Client) commandStream(ctx context.Context, path string, req any, input io.Reader, fn func(CommandEvent) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	line, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("POST %s: encode: %w", path, err)
	}
	var body io.Reader = bytes.NewReader(append(line, '\n'))
	if input != nil {
		body = io.MultiReader(body, input)
	}
	resp, err := c.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return ReadEvents(resp.Body, fn)
}

// ErrCut is an answer that ended before every node was through.
var ErrCut = errors.New("the connection to the head was lost; what it had begun may go on until its timeout")

// ReadEvents calls fn with each event of r. A stream that ends before all nodes of its plan are done is an ErrCut.
func ReadEvents(r io.Reader, fn func(CommandEvent) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	left := -1
	for lines.Scan() {
		var e CommandEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("the answer is not what was expected: %w", err)
		}
		if e.Plan != nil {
			left = len(e.Plan.Nodes)
			if e.Plan.DryRun {
				left = 0
			}
		}
		if e.Done != nil {
			left--
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w (%w)", ErrCut, err)
	}
	if left != 0 {
		return ErrCut
	}
	return nil
}

// Channel opens the command channel to the head. ctx is for the opening alone; what comes back is closed by the caller.
func (c *Client) Channel(ctx context.Context) (io.ReadWriteCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+PathChannel, nil)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", c.Base+PathChannel, err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", ChannelProtocol)
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		if resp.StatusCode < 300 {
			return nil, fmt.Errorf("GET %s: the server does not know the command channel", c.Base+PathChannel)
		}
		return nil, readProblem(resp, http.MethodGet, c.Base+PathChannel)
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		resp.Body.Close()
		return nil, fmt.Errorf("GET %s: the connection cannot be written to", c.Base+PathChannel)
	}
	return conn, nil
}
