package configuration

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Merge adds to a document what another one has and it has not, and keeps everything else of it as it was written, comments
// too: what has a name (services, monitors, devices) or an address by that, other settings where there are none. left are
// the fields of add that the document has already, with other values, and that were left as they are.
func Merge(text []byte, add Document) (merged []byte, left []string, err error) {
	more, err := Encode(add)
	if err != nil {
		return nil, nil, err
	}
	var base, extra yaml.Node
	if err := yaml.Unmarshal(text, &base); err != nil {
		return nil, nil, fmt.Errorf("merge: %w", err)
	}
	if err := yaml.Unmarshal(more, &extra); err != nil {
		return nil, nil, fmt.Errorf("merge: %w", err)
	}
	if extra.Kind == 0 {
		return text, nil, nil
	}
	if base.Kind == 0 || base.Content[0].Kind != yaml.MappingNode { // nothing but comments
		more, err := indented(&extra)
		return append(bytes.TrimRight(text, "\n"), append(newline(text), more...)...), nil, err
	}
	var before yaml.Node
	_ = yaml.Unmarshal(text, &before) // it was read above
	left = mergeMap("", base.Content[0], extra.Content[0])
	if equal(&before, &base) {
		return text, left, nil
	}
	merged, err = indented(&base)
	return merged, left, err
}

// indented writes a document as people do.
func indented(doc *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	return out.Bytes(), nil
}

// newline ends a text that has something.
func newline(text []byte) []byte {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	return []byte("\n")
}

func mergeMap(path string, base, extra *yaml.Node) (left []string) {
	for i := 0; i+1 < len(extra.Content); i += 2 {
		key, value := extra.Content[i], extra.Content[i+1]
		at := key.Value
		if path != "" {
			at = path + "." + at
		}
		have := field(base, key.Value)
		switch {
		case have == nil:
			base.Content = append(base.Content, key, value)
		case have.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
			left = append(left, mergeMap(at, have, value)...)
		case have.Kind == yaml.SequenceNode && value.Kind == yaml.SequenceNode:
			left = append(left, mergeList(at, have, value)...)
		case !equal(have, value):
			left = append(left, at)
		}
	}
	return left
}

// mergeList adds the elements that are not there. Lists of lists and of words without names (the levels of a fencing, the
// witnesses, the recipients of mail) are one thing: half of each would be nobody's.
func mergeList(path string, base, extra *yaml.Node) (left []string) {
	if equal(base, extra) {
		return nil
	}
	for _, value := range extra.Content {
		name := nameOf(value)
		if name == "" {
			return []string{path}
		}
		known := false
		for _, have := range base.Content {
			if nameOf(have) == name {
				known = true
				if !equal(have, value) {
					left = append(left, path+"["+name+"]")
				}
			}
		}
		if !known {
			base.Content = append(base.Content, value)
			base.Style = 0 // a list on one line grows too long
		}
	}
	return left
}

// nameOf is what an element of a list is known by.
func nameOf(n *yaml.Node) string {
	if n.Kind != yaml.MappingNode {
		return ""
	}
	for _, key := range []string{"name", "address", "device"} {
		if v := field(n, key); v != nil {
			return v.Value
		}
	}
	return ""
}

func field(n *yaml.Node, name string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// equal reports whether two nodes mean the same.
func equal(a, b *yaml.Node) bool {
	var x, y any
	if a.Decode(&x) != nil || b.Decode(&y) != nil {
		return false
	}
	one, err := yaml.Marshal(x)
	two, err2 := yaml.Marshal(y)
	return err == nil && err2 == nil && bytes.Equal(one, two)
}
