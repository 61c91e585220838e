package configuration

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// SecretPrefix begins a value that stands for a secret: "secret:NAME" for the one that is kept under NAME. So the document
// can be shown, and compared, and sent around, and passwords cannot.
const SecretPrefix = "secret:"

// Secrets are the names of the secrets that a document asks for, each once, in order.
func Secrets(data []byte) ([]string, error) {
	var names []string
	err := eachSecret(data, func(name string, _ *yaml.Node) error {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	}, nil)
	slices.Sort(names)
	return names, err
}

// Fill puts secrets in the place of their names. Those that there are none of are named in the error, all at once; their
// values are then empty.
func Fill(data []byte, secret func(name string) (string, bool)) ([]byte, error) {
	var missing []error
	out := data
	err := eachSecret(data, func(name string, n *yaml.Node) error {
		value, ok := secret(name)
		if !ok {
			missing = append(missing, fmt.Errorf("line %d: there is no secret %q", n.Line, name))
		}
		n.Value, n.Style, n.Tag = value, yaml.DoubleQuotedStyle, "!!str"
		return nil
	}, func(doc *yaml.Node) error {
		var err error
		out, err = yaml.Marshal(doc)
		return err
	})
	return out, errors.Join(err, errors.Join(missing...))
}

func eachSecret(data []byte, do func(name string, n *yaml.Node) error, then func(doc *yaml.Node) error) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("secrets of the configuration: %w", err)
	}
	if doc.Kind == 0 {
		return nil
	}
	var walk func(n *yaml.Node) error
	walk = func(n *yaml.Node) error {
		if name, ok := strings.CutPrefix(n.Value, SecretPrefix); ok && n.Kind == yaml.ScalarNode {
			return do(name, n)
		}
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				continue // keys
			}
			if err := walk(c); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(&doc); err != nil || then == nil {
		return err
	}
	return then(&doc)
}
