package vmware

import (
	"context"
	"fmt"
)

// filter is a PropertyFilterSpec: which properties of which objects.
type filter struct {
	Type   string    `xml:"propSet>type"`
	Names  []string  `xml:"propSet>pathSet"`
	Object ref       `xml:"objectSet>obj"`
	Skip   bool      `xml:"objectSet>skip"` // not the object itself, but those of Steps
	Steps  []forward `xml:"objectSet>selectSet"`
}

// forward is a TraversalSpec: from an object of Type to those that its property Path names.
type forward struct {
	Kind string `xml:"xsi:type,attr"`
	Type string `xml:"type"`
	Path string `xml:"path"`
	Skip bool   `xml:"skip"`
}

// object is an ObjectContent: what was asked of one object.
type object struct {
	Ref        ref `xml:"obj"`
	Properties []struct {
		Name  string `xml:"name"`
		Value value  `xml:"val"`
	} `xml:"propSet"`
	Missing []struct {
		Name string    `xml:"path"`
		Why  localized `xml:"fault"`
	} `xml:"missingSet"`
}

// value is a property: text, or a LocalizedMethodFault.
type value struct {
	Text string `xml:",chardata"`
	localized
}

func (c *client) retrieve(ctx context.Context, f filter) ([]object, error) {
	// RetrievePropertiesEx, which gives page by page, is not in the interface of every ESX host. A page of a folder with
	// ten thousand machines fits into what is read of an answer.
	return call[object](ctx, c, "RetrieveProperties", struct {
		This   ref    `xml:"_this"`
		Filter filter `xml:"specSet"`
	}{c.service.Properties, f})
}

// properties are the named ones of an object. One that is not set is left out; one that the user may not read is an error.
func (c *client) properties(ctx context.Context, of ref, names ...string) (map[string]value, error) {
	objects, err := c.retrieve(ctx, filter{Type: of.Type, Names: names, Object: of})
	if err != nil {
		return nil, err
	}
	if len(objects) != 1 || objects[0].Ref != of {
		return nil, fmt.Errorf("the server does not answer about %s %s", of.Type, of.ID)
	}
	for _, m := range objects[0].Missing {
		return nil, fmt.Errorf("property %.40q: %w", m.Name, m.Why)
	}
	out := map[string]value{}
	for _, p := range objects[0].Properties {
		out[p.Name] = p.Value
	}
	return out, nil
}
