package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
)

// ErrNotRunning is returned for a folder whose lab is not up.
var ErrNotRunning = errors.New("no lab is running there")

// Client drives a lab of another process.
type Client struct {
	Name string // of the lab

	socket string
	http   http.Client
}

// Connect finds the lab that is served from folder. Close it after use.
func Connect(ctx context.Context, folder string) (*Client, error) {
	text, err := os.ReadFile(signpostPath(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab in %s: %w", folder, ErrNotRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	var sign signpost
	if err := json.Unmarshal(text, &sign); err != nil {
		return nil, fmt.Errorf("lab: %s: %w", signpostPath(folder), err)
	}
	c := &Client{Name: sign.Name, socket: sign.Socket}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}
	conn, err := c.dial(ctx)
	if err != nil { // a lab that was killed leaves its signpost behind
		return nil, fmt.Errorf("lab in %s: %w: %w", folder, ErrNotRunning, err)
	}
	return c, conn.Close()
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", c.socket)
}

// Close lets go of the lab, which goes on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status is Lab.Status.
func (c *Client) Status(ctx context.Context) ([]MachineStatus, error) {
	var all []MachineStatus
	err := c.call(ctx, http.MethodGet, "status", nil, &all)
	return all, err
}

// Inject is Lab.Inject.
func (c *Client) Inject(ctx context.Context, words ...string) error {
	return c.call(ctx, http.MethodPost, "inject", words, nil)
}

// Down is Lab.Down; it returns when the lab is down.
func (c *Client) Down(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "down", nil, nil)
}

func (c *Client) call(ctx context.Context, method, path string, arguments, result any) error {
	body, err := json.Marshal(arguments)
	if err != nil {
		return fmt.Errorf("lab %s: %s: %w", c.Name, path, err)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://lab/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("lab %s: %s: %w", c.Name, path, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("lab %s: %s: %w", c.Name, path, err)
	}
	defer response.Body.Close()
	if err := refused(response); err != nil {
		return fmt.Errorf("lab %s: %w", c.Name, err)
	}
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(result); err != nil {
		return fmt.Errorf("lab %s: %s: %w", c.Name, path, err)
	}
	return nil
}

// refused returns the error that a response carries.
func refused(response *http.Response) error {
	if response.StatusCode < 300 {
		return nil
	}
	var r refusal
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil || r.Error == "" {
		return errors.New(response.Status)
	}
	return errors.New(r.Error)
}

// Console attaches to a machine's console: what is written is typed. Close it to leave.
func (c *Client) Console(ctx context.Context, machine string) (io.ReadWriteCloser, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("console %s: %w", machine, err)
	}
	opened, err := c.upgrade(ctx, conn, machine)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("console %s: %w", machine, err)
	}
	return opened, nil
}

func (c *Client) upgrade(ctx context.Context, conn net.Conn, machine string) (io.ReadWriteCloser, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lab/v1/machines/"+url.PathEscape(machine)+"/console", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", consoleProtocol)
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		if err := refused(response); err != nil {
			return nil, err
		}
		return nil, errors.New(response.Status)
	}
	return &stream{reader, conn}, nil
}
