package strict

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// The library ends at the first value that its type does not take (netip.Addr, by encoding.TextUnmarshaler), without its
// line, and speaks of Go's types. So each value is tried alone beforehand, with the type that it will have, and one that
// does not fit is left out of what the library decodes: the rest is looked at all the same.

// typeCheck looks for what does not fit a Go type.
type typeCheck struct {
	file string
	errs []*FieldError
	seen map[visit]bool // an alias may be used often, and in itself
}

type visit struct {
	node *yaml.Node
	typ  reflect.Type
}

func (c *typeCheck) bad(path string, n *yaml.Node, reason string) {
	c.errs = append(c.errs, &FieldError{File: c.file, Line: n.Line, Field: path, Reason: reason})
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

func (c *typeCheck) walk(path string, n *yaml.Node, t reflect.Type) {
	at := n
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if c.seen[visit{n, t}] {
		return
	}
	c.seen[visit{n, t}] = true
	if n.Kind == yaml.DocumentNode {
		for _, child := range n.Content {
			c.walk(path, child, t)
		}
		return
	}
	if t.Kind() == reflect.Interface || t == reflect.TypeFor[yaml.Node]() || reflect.PointerTo(t).Implements(unmarshaler) || n.ShortTag() == "!!null" {
		return
	}
	if !fits(n, t) {
		c.bad(path, at, said(n)+" is not "+described(t))
		*at = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: at.Line, Column: at.Column}
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, child := range n.Content {
			c.walk(fmt.Sprintf("%s[%d]", path, i), child, t.Elem())
		}
	case yaml.MappingNode:
		c.mapping(path, n, t)
	}
}

func (c *typeCheck) mapping(path string, n *yaml.Node, t reflect.Type) {
	fields, open := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if t.Kind() == reflect.Struct && key.ShortTag() == "!!merge" {
			c.merged(path, value, t)
			continue
		}
		at := key.Value
		if path != "" {
			at = path + "." + at
		}
		if t.Kind() == reflect.Map {
			c.walk(at, value, t.Elem())
			continue
		}
		field, ok := fields[key.Value]
		switch {
		case ok:
			c.walk(at, value, field)
		case !open:
			c.bad(at, key, "no such field")
		}
	}
}

// merged is what "<<" adds to a mapping: another one, or several.
func (c *typeCheck) merged(path string, n *yaml.Node, t reflect.Type) {
	all := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		all = n.Content
	}
	for _, m := range all {
		if m.Kind == yaml.MappingNode || m.Kind == yaml.AliasNode && m.Alias.Kind == yaml.MappingNode { // the library refuses others
			c.walk(path, m, t)
		}
	}
}

// fieldsOf are the keys that a struct takes; open: any other one too.
func fieldsOf(t reflect.Type) (fields map[string]reflect.Type, open bool) {
	fields = map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return fields, true
	}
	for _, f := range reflect.VisibleFields(t) {
		if len(f.Index) > 1 || (!f.IsExported() && !f.Anonymous) {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		if slices.Contains(strings.Split(options, ","), "inline") {
			inner := f.Type
			for inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			more, all := fieldsOf(inner)
			open = open || all
			for k, v := range more {
				fields[k] = v
			}
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		fields[name] = f.Type
	}
	return fields, open
}

// fits reports whether a type takes a value. What is within a list or a mapping is not looked at.
func fits(n *yaml.Node, t reflect.Type) bool {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(reflect.New(t).Interface()) == nil
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return false
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return n.Kind == yaml.SequenceNode
	case reflect.Struct, reflect.Map:
		return n.Kind == yaml.MappingNode
	}
	return false
}

// said is a value as it was written.
func said(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "a mapping (key: value)"
	case n.ShortTag() == "!!str":
		return fmt.Sprintf("%q", n.Value)
	}
	return n.Value
}

// described is what a type takes, for people.
func described(t reflect.Type) string {
	for t.Kind() == reflect.Struct && t.NumField() == 1 && t.Field(0).Anonymous {
		t = t.Field(0).Type
	}
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return "an address, such as 10.77.0.1"
	case reflect.TypeFor[netip.Prefix]():
		return "an address with a prefix, such as 10.77.0.100/24"
	case reflect.TypeFor[time.Duration]():
		return "a duration, such as 10s"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that fits here"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a text"
	case reflect.Slice, reflect.Array:
		return "a list (- ONE, a line each; or [ONE, TWO])"
	case reflect.Struct, reflect.Map:
		return "a mapping (key: value)"
	}
	return "what is wanted here"
}

// Names reports whether an error of Decode is about a field, or about one that it is in: nothing more is to be said of it.
func Names(err error, field string) bool {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(err error) bool { return Names(err, field) })
	case *FieldError:
		rest, ok := strings.CutPrefix(field, e.Field)
		return e.Field != "" && ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	inner := errors.Unwrap(err)
	return inner != nil && Names(inner, field)
}
