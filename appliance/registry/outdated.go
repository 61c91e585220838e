package registry

import (
	"masthead/images"
	"masthead/node/wire"
)

// compareImages says of nodes which image each gets at its next boot, and whether it runs another one: digests are
// compared, so a tag that goes back to what a node runs makes it up to date again. refs are the images as they are named
// for the nodes. The caller holds no lock: what a name means is asked of others.
func (r *Registry) compareImages(nodes []wire.Node, refs []string) {
	known := map[string]images.Digest{} // thousands of nodes share a few names
	for i := range nodes {
		if isHead(nodes[i].Attrs) || nodes[i].Attrs[roleAttr] == RoleClone {
			continue // it runs what it booted from
		}
		d, ok := known[refs[i]]
		if !ok {
			d, _ = r.resolve(refs[i]) // a name without an image wants none
			known[refs[i]] = d
		}
		outdate(&nodes[i], d)
	}
}

// outdate notes which image a node is to run.
func outdate(n *wire.Node, wanted images.Digest) {
	if isHead(n.Attrs) || n.Attrs[roleAttr] == RoleClone {
		return
	}
	n.Wanted = wanted
	n.NeedsReboot = n.Phase == wire.PhaseUp && n.Running != "" && wanted != "" && n.Running != wanted
}
