package registry

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("not found")
	ErrInvalid  = errors.New("invalid")
	ErrConflict = errors.New("conflict")
)

// Refusal is one reason why a change is not made. A change with several comes back with all of them joined.
type Refusal struct {
	Kind   error  // ErrNotFound, ErrInvalid or ErrConflict
	Field  string // of wire.NodeChange, in JSON
	Value  string
	Reason string
	Fix    string // what to type or do
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s %q: %s", r.Field, r.Value, r.Reason) }

// Unwrap gives the kind.
func (r *Refusal) Unwrap() error { return r.Kind }

// Try says what helps.
func (r *Refusal) Try() string { return r.Fix }

func noNode(name string) error {
	return &Refusal{Kind: ErrNotFound, Field: "name", Value: name, Reason: "no node has this name", Fix: "masthead node list"}
}
