package vmtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"masthead/vmtest/qemu"
)

// Load reads a lab file. Paths in it are relative to its folder.
func Load(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("lab: %w", err)
	}
	c, err := Parse(path, text)
	if err != nil {
		return Config{}, err
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, fmt.Errorf("lab %s: %w", path, err)
	}
	return c.resolve(folder), nil
}

// Parse reads a lab file's text. The errors are all that are wrong, joined, each
// with file and line. The Config is complete: Prepare was done.
func Parse(file string, text []byte) (Config, error) {
	var c Config
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	switch err := decoder.Decode(&c); {
	case errors.Is(err, io.EOF):
		return Config{}, fmt.Errorf("%s: is empty", file)
	case err != nil:
		return Config{}, locate(file, err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: more than one document", file)
	}
	c, problems := prepare(c)
	if len(problems) == 0 {
		return c, nil
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("%s:%d: %w", file, line(&root, p.Field), p))
	}
	return Config{}, errors.Join(errs...)
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
)

// locate rewrites what the YAML decoder says in the form file:line: reason.
func locate(file string, err error) error {
	var several *yaml.TypeError
	if !errors.As(err, &several) {
		several = &yaml.TypeError{Errors: []string{err.Error()}}
	}
	var errs []error
	for _, e := range several.Errors {
		at := yamlLine.FindStringSubmatch(e)
		if at == nil {
			errs = append(errs, fmt.Errorf("%s: %s", file, strings.TrimPrefix(e, "yaml: ")))
			continue
		}
		reason := yamlUnknown.ReplaceAllString(at[2], "unknown field $1")
		errs = append(errs, fmt.Errorf("%s:%s: %s", file, at[1], reason))
	}
	return errors.Join(errs...)
}

// line finds the field machines.n01.nics[0].mac in a document, or the nearest
// thing around it that is there.
func line(root *yaml.Node, field string) int {
	at := root
	if at.Kind == yaml.DocumentNode {
		at = at.Content[0]
	}
	found := at.Line
	for field != "" {
		next, line, rest := child(at, field)
		if next == nil {
			break
		}
		at, found, field = next, line, strings.TrimPrefix(rest, ".")
	}
	return found
}

// child takes the first step of field. Keys are compared whole: a bad name may
// have a dot in it.
func child(node *yaml.Node, field string) (next *yaml.Node, line int, rest string) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			rest, ok := strings.CutPrefix(field, key.Value)
			if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				return value, key.Line, rest
			}
		}
	case yaml.SequenceNode:
		index, rest, _ := strings.Cut(strings.TrimPrefix(field, "["), "]")
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i].Line, rest
		}
	case yaml.AliasNode:
		return child(node.Alias, field)
	}
	return nil, 0, ""
}

// UnmarshalYAML reads a size.
func (s *Size) UnmarshalYAML(node *yaml.Node) error {
	size, err := ParseSize(node.Value)
	if err != nil {
		return typeError(node, err)
	}
	*s = size
	return nil
}

// UnmarshalYAML reads one source or a list.
func (b *Boot) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*b = Boot{qemu.Source(node.Value)}
		return nil
	}
	return node.Decode((*[]qemu.Source)(b))
}

// typeError is the kind of error that the decoder collects instead of stopping at it.
func typeError(node *yaml.Node, err error) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %v", node.Line, err)}}
}

// resolve makes the files' paths relative to folder absolute.
func (c Config) resolve(folder string) Config {
	at := func(path string) string {
		if path == "" || filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(folder, path)
	}
	machines := make(map[string]MachineConfig, len(c.Machines))
	for name, m := range c.Machines {
		m.ISO = at(m.ISO)
		m.Kernel.Image, m.Kernel.Initrd = at(m.Kernel.Image), at(m.Kernel.Initrd)
		m.Disks = append([]DiskConfig(nil), m.Disks...)
		for i := range m.Disks {
			m.Disks[i].Path = at(m.Disks[i].Path)
		}
		m.NICs = append([]NICConfig(nil), m.NICs...)
		for i, n := range m.NICs {
			if n.ROM != qemu.NoROM {
				m.NICs[i].ROM = at(n.ROM)
			}
		}
		m.OEMFiles = append([]string(nil), m.OEMFiles...)
		for i, path := range m.OEMFiles {
			m.OEMFiles[i] = at(path)
		}
		machines[name] = m
	}
	c.Machines = machines
	return c
}
