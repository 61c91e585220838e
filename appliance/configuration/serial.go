package configuration

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// WithCable is a document in which a serial cable connects two heads: ends are the device at each, by the head's name. What
// people have written stays, comments too; a head that has such an entry already keeps it. named: each end says which head
// is at the other, as is needed where there are more than two. Pure.
func WithCable(text string, ends map[string]string, named bool) (string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return "", fmt.Errorf("add a serial cable: %w", err)
	}
	if len(doc.Content) == 0 { // nothing but comments, which the library would drop
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return text + cableText(ends, named), nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return "", errors.New("add a serial cable: the document is no mapping")
	}
	heads, err := under(root, "heads", yaml.MappingNode)
	if err != nil {
		return "", err
	}
	changed := false
	for _, name := range sorted(ends) {
		head, err := under(heads, name, yaml.MappingNode)
		if err != nil {
			return "", err
		}
		ports, err := under(head, "serial", yaml.SequenceNode)
		if err != nil {
			return "", err
		}
		var have []Serial
		if err := ports.Decode(&have); err != nil {
			return "", fmt.Errorf("add a serial cable: heads.%s.serial: %w", name, err)
		}
		if slices.ContainsFunc(have, func(s Serial) bool { return s.Device == ends[name] }) {
			continue
		}
		changed = true
		ports.Style = yaml.FlowStyle
		entry := []*yaml.Node{scalar("device"), scalar(ends[name])}
		if named {
			entry = append(entry, scalar("peer"), scalar(peerOf(ends, name)))
		}
		ports.Content = append(ports.Content, &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: entry})
	}
	if !changed {
		return text, nil
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
		return "", fmt.Errorf("add a serial cable: %w", err)
	}
	return out.String(), nil
}

func cableText(ends map[string]string, named bool) string {
	text := "heads:\n"
	for _, name := range sorted(ends) {
		peer := ""
		if named {
			peer = ", peer: " + peerOf(ends, name)
		}
		text += fmt.Sprintf("  %s: {serial: [{device: %s%s}]}\n", name, ends[name], peer)
	}
	return text
}

// peerOf is the head at the other end.
func peerOf(ends map[string]string, name string) string {
	for other := range ends {
		if other != name {
			return other
		}
	}
	return ""
}

func sorted(ends map[string]string) []string {
	var names []string
	for name := range ends {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// under is the value of a key of a mapping, which is made where it is missing or null.
func under(m *yaml.Node, key string, kind yaml.Kind) (*yaml.Node, error) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value != key {
			continue
		}
		v := m.Content[i+1]
		if v.Kind == yaml.ScalarNode && v.Tag == "!!null" {
			*v = yaml.Node{Kind: kind, HeadComment: v.HeadComment, LineComment: v.LineComment, FootComment: v.FootComment}
		}
		if v.Kind != kind {
			return nil, fmt.Errorf("add a serial cable: line %d: %s is not what it should be", v.Line, key)
		}
		return v, nil
	}
	v := &yaml.Node{Kind: kind}
	if m.Style == yaml.FlowStyle {
		v.Style = yaml.FlowStyle
	}
	m.Content = append(m.Content, scalar(key), v)
	return v, nil
}
