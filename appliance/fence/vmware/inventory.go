package vmware

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// entity is an object of the inventory.
type entity struct {
	ref
	name string
}

// contains are the properties by which an object holds others, as far as there are machines below them.
func contains(kind string) []string {
	switch kind {
	case "Folder":
		return []string{"childEntity"}
	case "Datacenter":
		return []string{"vmFolder", "hostFolder"}
	case "ComputeResource", "ClusterComputeResource":
		return []string{"host"}
	case "HostSystem":
		return []string{"vm"}
	case "VirtualApp":
		return []string{"vm", "resourcePool"} // which can be a VirtualApp as well
	}
	return nil
}

// find is the machine that plug means; where that is not clear it is none.
func (c *client) find(ctx context.Context, plug, datacenter string) (ref, error) {
	if looksLikeUUID(plug) {
		return c.byUUID(ctx, plug)
	}
	from := c.service.Root
	if !strings.HasPrefix(plug, "/") {
		folder, err := c.machineFolder(ctx, datacenter)
		if err != nil {
			return ref{}, err
		}
		from = folder
	}
	found, err := c.lookup(ctx, from, "VirtualMachine", plug)
	if err != nil {
		return ref{}, err
	}
	switch len(found) {
	case 0:
		return ref{}, fmt.Errorf("virtual machine %q not found", plug)
	case 1:
		return found[0], nil
	}
	return ref{}, fmt.Errorf("several virtual machines are named %q; name one by its path or UUID", plug)
}

func (c *client) byUUID(ctx context.Context, uuid string) (ref, error) {
	found, err := call[ref](ctx, c, "FindAllByUuid", struct {
		This     ref    `xml:"_this"`
		UUID     string `xml:"uuid"`
		Machines bool   `xml:"vmSearch"` // and not hosts
	}{c.service.Search, uuid, true})
	if err != nil {
		return ref{}, err
	}
	switch {
	case len(found) == 0 || found[0].Type != "VirtualMachine":
		return ref{}, errors.New("no virtual machine has this UUID")
	case len(found) > 1:
		return ref{}, errors.New("several virtual machines have this UUID, as copies do; name one by its path")
	}
	return found[0], nil
}

// machineFolder is the folder of all machines of the datacenter that is named, or of the only one.
func (c *client) machineFolder(ctx context.Context, datacenter string) (ref, error) {
	var found []ref
	var err error
	if datacenter == "" {
		found, err = c.search(ctx, c.service.Root, "Datacenter", func(string) bool { return true })
	} else {
		found, err = c.lookup(ctx, c.service.Root, "Datacenter", datacenter)
	}
	switch {
	case err != nil:
		return ref{}, err
	case len(found) == 0:
		return ref{}, fmt.Errorf("datacenter %q not found", datacenter)
	case len(found) > 1 && datacenter == "":
		return ref{}, errors.New("there are several datacenters; name one as the parameter datacenter, or the machine by its path or UUID")
	case len(found) > 1:
		return ref{}, fmt.Errorf("several datacenters are named %q; name one by its path", datacenter)
	}
	folders, err := c.list(ctx, found[0], "vmFolder")
	if err != nil {
		return ref{}, err
	}
	if len(folders) != 1 {
		return ref{}, errors.New("the datacenter has no folder of machines")
	}
	return folders[0].ref, nil
}

// lookup are the objects of a kind that name means below from: a name alone wherever it is, a path only there.
func (c *client) lookup(ctx context.Context, from ref, kind, name string) ([]ref, error) {
	if strings.Contains(name, "/") {
		return c.walk(ctx, from, kind, strings.Split(strings.Trim(path.Clean(name), "/"), "/"))
	}
	return c.search(ctx, from, kind, func(s string) bool { return s == name })
}

// search are the objects of a kind in the folder from and all folders and virtual applications below it.
func (c *client) search(ctx context.Context, from ref, kind string, wanted func(name string) bool) (found []ref, err error) {
	todo, seen := []ref{from}, map[ref]bool{from: true}
	for len(todo) > 0 {
		in, err := c.list(ctx, todo[0], contains(todo[0].Type)...)
		if err != nil {
			return nil, err
		}
		todo = todo[1:]
		for _, e := range in {
			if seen[e.ref] {
				continue
			}
			seen[e.ref] = true
			if e.Type == kind && wanted(e.name) {
				found = append(found, e.ref)
			}
			if e.Type == "Folder" || e.Type == "VirtualApp" {
				todo = append(todo, e.ref)
			}
		}
	}
	return found, nil
}

// walk are the objects of a kind at a path below from. There can be several: a standalone host takes a name twice.
func (c *client) walk(ctx context.Context, from ref, kind string, names []string) (found []ref, err error) {
	in, err := c.list(ctx, from, contains(from.Type)...)
	if err != nil {
		return nil, err
	}
	rest := strings.Join(names, "/")
	for _, e := range in {
		var below []ref
		switch {
		case e.name == rest: // a name can have a slash in it
			if e.Type == kind {
				below = []ref{e.ref}
			}
		case e.name == names[0]:
			if below, err = c.walk(ctx, e.ref, kind, names[1:]); err != nil {
				return nil, err
			}
		}
		for _, r := range below {
			if !slices.Contains(found, r) {
				found = append(found, r)
			}
		}
	}
	return found, nil
}

// list is what an object holds by the properties in; nothing if there are none.
func (c *client) list(ctx context.Context, from ref, in ...string) ([]entity, error) {
	if len(in) == 0 {
		return nil, nil
	}
	f := filter{Type: "ManagedEntity", Names: []string{"name"}, Object: from, Skip: true}
	for _, p := range in {
		f.Steps = append(f.Steps, forward{Kind: "TraversalSpec", Type: from.Type, Path: p})
	}
	objects, err := c.retrieve(ctx, f)
	if err != nil {
		return nil, err
	}
	var out []entity
	for _, o := range objects {
		e := entity{ref: o.Ref}
		for _, m := range o.Missing {
			// An object that was removed after the server had listed it.
			if m.Why.Fault.name() != "ManagedObjectNotFound" {
				return nil, fmt.Errorf("property %.40q of %.40q: %w", m.Name, o.Ref.ID, m.Why)
			}
		}
		for _, p := range o.Properties {
			if p.Name == "name" {
				e.name = p.Value.Text
			}
		}
		if e.name != "" {
			out = append(out, e)
		}
	}
	return out, nil
}

func looksLikeUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}
