package command

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"masthead/node/wire"
)

// inlineInput is how large an input may be to travel with its command. A larger one lies in a file, from which each node
// fetches it at its own speed.
const inlineInput = 64 << 10

// Input is what each node of a command gets as standard input. Many may read it at a time.
type Input struct {
	small []byte
	file  *os.File // without a name; nil: all is in small
	size  int64
}

// TakeInput reads r to its end. The caller closes what it gets, when no command uses it any more.
func (d *Dispatcher) TakeInput(r io.Reader) (*Input, error) {
	if r == nil {
		return &Input{}, nil
	}
	small, err := io.ReadAll(io.LimitReader(r, inlineInput+1))
	if err != nil {
		return nil, fmt.Errorf("take the input: %w", err)
	}
	if len(small) <= inlineInput {
		return &Input{small: small, size: int64(len(small))}, nil
	}
	f, err := os.CreateTemp(d.conf.Spool, "command-*")
	if err != nil {
		return nil, fmt.Errorf("keep the input: %w", err)
	}
	in := &Input{file: f}
	// Without a name it goes with the process, however that ends.
	if err := os.Remove(f.Name()); err != nil {
		in.Close()
		return nil, fmt.Errorf("keep the input: %w", err)
	}
	in.size, err = io.Copy(f, io.LimitReader(io.MultiReader(bytes.NewReader(small), r), wire.MaxCommandInput+1))
	if err == nil && in.size > wire.MaxCommandInput {
		err = fmt.Errorf("more than %d bytes", wire.MaxCommandInput)
	}
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("take the input: %w", err)
	}
	return in, nil
}

// Size is its length in bytes.
func (in *Input) Size() int64 { return in.size }

// Reader reads all of it from the beginning.
func (in *Input) Reader() io.Reader {
	if in.file == nil {
		return bytes.NewReader(in.small)
	}
	return io.NewSectionReader(in.file, 0, in.size)
}

// Close frees it.
func (in *Input) Close() error {
	if in.file == nil {
		return nil
	}
	return in.file.Close()
}
