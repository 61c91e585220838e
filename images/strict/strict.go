package strict

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// FieldError is one thing wrong with a file.
type FieldError struct {
	File   string
	Line   int // 0: the whole file
	Field  string
	Value  string
	Reason string
}

func (e *FieldError) Error() string {
	at := e.File
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Field == "" {
		return fmt.Sprintf("%s: %s", at, e.Reason)
	}
	if e.Value == "" {
		return fmt.Sprintf("%s: %s: %s", at, e.Field, e.Reason)
	}
	return fmt.Sprintf("%s: %s: %q: %s", at, e.Field, e.Value, e.Reason)
}

// ErrEmpty is a file without a document.
var ErrEmpty = errors.New("empty")

// Decode reads the one document of a file into v. Lines is there also with an error, unless it is no YAML at all. Every
// error is ErrEmpty or *FieldErrors, all of them joined.
func Decode(file string, data []byte, v any) (Lines, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, joined(fieldErrors(file, err))
	}
	lines := Lines{}
	lines.walk("", &doc)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(new(yaml.Node)); errors.Is(err, io.EOF) {
		return lines, ErrEmpty
	}
	check := typeCheck{file: file, seen: map[visit]bool{}}
	check.walk("", &doc, reflect.TypeOf(v))
	all := check.errs
	if err := doc.Decode(v); err != nil {
		all = append(all, fieldErrors(file, err)...)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		all = append(all, &FieldError{File: file, Reason: "more than one document"})
	}
	return lines, joined(all)
}

// joined are all errors, in the order of their lines.
func joined(all []*FieldError) error {
	slices.SortStableFunc(all, func(a, b *FieldError) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, len(all))
	for i, e := range all {
		errs[i] = e
	}
	return errors.Join(errs...)
}

var errorLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// fieldErrors turns the library's errors, which carry their lines in words, into FieldErrors.
func fieldErrors(file string, err error) []*FieldError {
	messages := []string{err.Error()}
	var te *yaml.TypeError
	if errors.As(err, &te) {
		messages = te.Errors
	}
	var errs []*FieldError
	for _, m := range messages {
		e := &FieldError{File: file, Reason: strings.TrimPrefix(m, "yaml: ")}
		if parts := errorLine.FindStringSubmatch(m); parts != nil {
			fmt.Sscan(parts[1], &e.Line)
			e.Reason = parts[2]
		}
		errs = append(errs, e)
	}
	return errs
}
