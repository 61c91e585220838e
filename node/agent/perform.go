package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// perform does what a head wants, and gives how it ended.
func (a *Agent) perform(ctx context.Context, client Head, f wire.Frame, out *outlet) wire.CommandResult {
	if err := f.Command.Validate(); err != nil {
		return wire.CommandResult{Error: err.Error()}
	}
	timeout := time.Duration(f.Command.Timeout * float64(time.Second))
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done after %v, and killed", timeout))
	defer cancel()
	// Whoever waits for room to say something is not to outlive the command.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(killGrace, out.close) })()
	input, err := a.input(ctx, client, f)
	if err != nil {
		return wire.CommandResult{Error: "fetch the input: " + err.Error()}
	}
	if input != nil {
		defer input.Close()
	}
	switch f.Command.Kind {
	case wire.CommandCopy:
		var done copied
		if input != nil {
			done, err = unpack(ctx, input, f.Command.Dest)
		}
		if err != nil {
			return wire.CommandResult{Error: err.Error()}
		}
		out.stdout([]byte(done.String() + "\n"))
		return wire.CommandResult{}
	case wire.CommandTask:
		text, err := a.task(ctx, client, f.Command.Task)
		out.stdout([]byte(text))
		if err != nil {
			return wire.CommandResult{Error: err.Error()}
		}
		return wire.CommandResult{}
	}
	return execute(ctx, *f.Command, input, out, a.paths.scripts)
}

// input is what the command reads: nil if nothing.
func (a *Agent) input(ctx context.Context, client Head, f wire.Frame) (io.ReadCloser, error) {
	switch {
	case f.Input > 0:
		body, err := client.Input(ctx, f.ID)
		if err != nil {
			return nil, err
		}
		return body, nil
	case len(f.Inline) > 0:
		return io.NopCloser(bytes.NewReader(f.Inline)), nil
	}
	return nil, nil
}

// task does what the agent can do by itself, and says what has changed.
func (a *Agent) task(ctx context.Context, client Head, name string) (string, error) {
	if a.cfg.Role == images.RoleHead {
		return "", errors.New("this is a head: its hosts file and its keys are its own")
	}
	mine, err := client.Mine(ctx)
	if err != nil {
		return "", err
	}
	if name == wire.TaskUpdateKeys {
		return a.updateKeys(mine.SSHKeys)
	}
	return a.fetchHosts(mine)
}

// fetchHosts takes over the list of heads from its first on, also where this machine had gone on to another one, and
// writes our lines of the hosts file anew.
func (a *Agent) fetchHosts(mine wire.Mine) (string, error) {
	a.mu.Lock()
	a.known = nil
	a.mu.Unlock()
	heads := a.adopted(mine.Heads)
	names := make([]string, len(heads))
	for i, h := range heads {
		names[i] = h.Name
	}
	text := "heads: " + strings.Join(names, " ") + "\n"
	if len(heads) == 0 {
		return text, nil
	}
	block := HostsBlock(mine.Name, AddressOf(heads[0].URL), mine.Hosts)
	changed, err := edit(a.paths.hosts, 0o644, func(old string) string { return withBlock(old, block) })
	if err != nil {
		return text, err
	}
	return text + fmt.Sprintf("%s: %s%s\n", a.paths.hosts, count(strings.Count(block, "\n")-2, "name"), changedText(changed)), nil
}

// updateKeys writes the administrators' SSH keys anew.
func (a *Agent) updateKeys(keys []string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed, err := edit(a.paths.keys, 0o600, func(old string) string { return withKeys(old, a.keys, keys) })
	if err != nil {
		return "", err
	}
	a.keys = keys
	a.keep()
	return fmt.Sprintf("%s: %s from the head%s\n", a.paths.keys, count(len(keys), "key"), changedText(changed)), nil
}

func changedText(changed bool) string {
	if changed {
		return ", changed"
	}
	return ", as before"
}
