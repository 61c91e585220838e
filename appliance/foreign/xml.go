package foreign

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"masthead/appliance/fence"
)

// deepest is how deep elements may lie in one another; rgmanager's own limit is far less.
const deepest = 64

// element is one of an XML file, with the lines of its start tag.
type element struct {
	name        string
	attrs       []xml.Attr
	first, last int
	from, to    int64 // of the start tag, in bytes
	children    []*element
	used        map[string]bool
}

// parse reads an XML file into a tree.
func parse(data []byte) (*element, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	// The file is ASCII but for comments, whatever it says.
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	var root *element
	var open []*element
	for {
		line, _ := d.InputPos()
		from := d.InputOffset()
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			last, _ := d.InputPos()
			e := &element{name: t.Name.Local, attrs: slices.Clone(t.Attr), first: line, last: last, from: from, to: d.InputOffset(), used: map[string]bool{}}
			if len(open) >= deepest {
				return nil, fmt.Errorf("line %d: elements lie more than %d deep in one another", line, deepest)
			}
			switch {
			case len(open) > 0:
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			case root != nil:
				return nil, fmt.Errorf("line %d: a second root element, %s", line, e.name)
			default:
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if text := strings.TrimSpace(string(t)); text != "" && len(open) > 0 {
				return nil, fmt.Errorf("line %d: text between elements: %.40q", line, text)
			}
		}
	}
	if root == nil {
		return nil, fmt.Errorf("there is no element in it")
	}
	return root, nil
}

// get is an attribute, which counts as understood from then on.
func (e *element) get(name string) string {
	e.used[name] = true
	for _, a := range e.attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// rest are the attributes that nobody has asked for.
func (e *element) rest() []xml.Attr {
	return slices.DeleteFunc(slices.Clone(e.attrs), func(a xml.Attr) bool { return e.used[a.Name.Local] })
}

// all is every attribute by its name.
func (e *element) all() map[string]string {
	m := map[string]string{}
	for _, a := range e.attrs {
		m[a.Name.Local] = a.Value
	}
	return m
}

var attributeForm = regexp.MustCompile(`([\w:.-]+)(\s*=\s*)("[^"]*"|'[^']*')`)

// masked is the file without the values of passwords, line by line as it was.
func (e *element) masked(data []byte) []byte {
	var out []byte
	at := int64(0)
	var walk func(*element)
	walk = func(e *element) {
		out = append(out, data[at:e.from]...)
		out = append(out, attributeForm.ReplaceAllFunc(data[e.from:e.to], maskAttribute)...)
		at = e.to
		for _, c := range e.children {
			walk(c)
		}
	}
	walk(e)
	return append(out, data[at:]...)
}

func maskAttribute(a []byte) []byte {
	m := attributeForm.FindSubmatch(a)
	name := string(m[1][bytes.LastIndexByte(m[1], ':')+1:])
	if !fence.Secret(name) || len(m[3]) == 2 {
		return a
	}
	lines := strings.Repeat("\n", bytes.Count(m[3], []byte("\n")))
	return []byte(string(m[1]) + string(m[2]) + string(m[3][:1]) + "…" + lines + string(m[3][:1]))
}
