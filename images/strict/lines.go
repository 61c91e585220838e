package strict

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// Lines maps the path of a field (root.debian.packages[2]) to its line.
type Lines map[string]int

func (l Lines) walk(path string, n *yaml.Node) {
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			l.walk(path, c)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p := n.Content[i].Value
			if path != "" {
				p = path + "." + p
			}
			l[p] = n.Content[i].Line
			l.walk(p, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			p := fmt.Sprintf("%s[%d]", path, i)
			l[p] = c.Line
			l.walk(p, c)
		}
	}
}

// Of is the line of a field, or of the nearest parent that is there.
func (l Lines) Of(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			break
		}
		path = path[:i]
	}
	return 0
}
