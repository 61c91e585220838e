package monitor

import "fmt"

// FieldError is one thing that is wrong in a configuration.
type FieldError struct {
	Field  string // as in the document, from the struct that was checked: "tcp.port", "periods[1].when"
	Value  string
	Reason string // continues "FIELD VALUE "
}

func (e *FieldError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s: %s", e.Field, e.Reason)
	}
	return fmt.Sprintf("%s: %s %s", e.Field, e.Value, e.Reason)
}
