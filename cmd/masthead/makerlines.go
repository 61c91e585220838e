package main

import (
	"bytes"
	"context"
	"errors"
	"io"

	"masthead/appliance/maker"
	"masthead/node/wire"
)

// keptWords is as much of what a machine says on standard error as is kept for an error.
const keptWords = 8 << 10

// commandLines has a machine do something and calls line with each line that it prints, as it comes. What it says on
// standard error is the error's: its last "error:" and "try:", as this program writes them.
func commandLines(ctx context.Context, c *wire.Client, node string, command wire.Command, input io.Reader,
	line func([]byte)) error {
	var rest, said []byte
	var result *wire.CommandResult
	err := c.Command(ctx, wire.CommandRequest{Nodes: node, Command: command}, input, func(e wire.CommandEvent) error {
		rest = append(rest, e.Stdout...)
		for {
			whole, after, found := bytes.Cut(rest, []byte{'\n'})
			if !found {
				break
			}
			if line != nil {
				line(whole)
			}
			rest = after
		}
		said = append(said, e.Stderr...)
		said = said[max(0, len(said)-keptWords):]
		if e.Done != nil {
			result = e.Done
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case result == nil:
		return errors.New("no head reaches it")
	case result.Error == wire.CommandLost:
		return &hint{errLost, result.Try}
	case result.Error != "":
		return &hint{errors.New(result.Error), result.Try}
	case result.Exit != 0:
		return maker.SaidError(string(said), result.Exit)
	}
	return nil
}
