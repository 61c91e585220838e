package foreign

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"masthead/appliance/configuration"
)

// ClusterConf reads the cluster.conf of Red Hat's cluster suite (cman and rgmanager, releases 4 to 6). An error: it is no
// such file.
func ClusterConf(data []byte) (Result, error) {
	root, err := parse(data)
	if err != nil {
		return Result{}, fmt.Errorf("cluster.conf: %w", err)
	}
	if root.name != "cluster" {
		return Result{}, fmt.Errorf("cluster.conf: line %d: the root element is %s, not cluster", root.first, root.name)
	}
	c := clusterReader{report: newReport("cluster.conf", root.masked(data)), fsids: map[string]string{}}
	c.cluster(root)
	c.leftOver(root)
	return Result{Document: c.document, Secrets: c.secrets, Lines: c.done(func(text string) bool {
		return strings.HasPrefix(text, "<?") || strings.HasPrefix(text, "<!--") && strings.HasSuffix(text, "-->")
	})}, nil
}

// clusterReader holds what of the file has been read.
type clusterReader struct {
	*report
	document configuration.Document
	shared   []*element        // rm: resources
	fsids    map[string]string // of the file systems, by their paths, for NFS
}

func (c *clusterReader) cluster(root *element) {
	c.document.Name = root.get("name")
	if alias := root.get("alias"); alias != "" {
		c.document.Name = alias
	}
	if root.get("config_version") != "" {
		c.yes(root.first, "config_version: our configuration counts its versions itself")
	}
	// Devices first: the nodes name them.
	for _, e := range root.children {
		if e.name == "fencedevices" {
			for _, d := range e.children {
				c.fenceDevice(d)
			}
		}
	}
	for _, e := range root.children {
		switch e.name {
		case "clusternodes":
			for _, n := range e.children {
				c.node(n)
			}
		case "fencedevices":
		case "cman":
			c.cman(e)
		case "quorumd":
			c.quorumd(e)
		case "rm":
			c.rm(e)
		case "fence_daemon":
			c.skip(e, "not needed: an owner that is silent is fenced at once, the standby waits 500 ms")
		case "totem":
			c.skip(e, "not needed: heartbeats are 50 ms apart and need no token")
		case "logging", "group", "dlm", "gfs_controld", "clvmd", "ccs", "ccsd", "openais", "aisexec", "uidgid", "fence_xvmd", "groupd", "interface", "multicast":
			c.skip(e, "not needed")
		default:
			c.no(e.first, "%s: this is not known", e.name)
			c.lost(e)
		}
	}
}

// skip takes a whole element for understood, with what lies in it.
func (c *clusterReader) skip(e *element, note string) {
	c.yes(e.first, "%s: %s", e.name, note)
	c.quiet(e)
}

func (c *clusterReader) quiet(e *element) {
	for _, a := range e.attrs {
		e.used[a.Name.Local] = true
	}
	for _, ch := range e.children {
		c.quiet(ch)
	}
}

// lost marks all that lies in an element as not understood.
func (c *clusterReader) lost(e *element) {
	for _, ch := range e.children {
		c.no(ch.first, "%s: lies in an element that was not understood", ch.name)
		c.lost(ch)
	}
	for _, a := range e.attrs {
		e.used[a.Name.Local] = true
	}
}

// leftOver reports attributes that nobody asked for, and marks the further lines of start tags.
func (c *clusterReader) leftOver(e *element) {
	for _, a := range e.rest() {
		c.no(e.first, "%s: attribute %s=%q is not used", e.name, a.Name.Local, a.Value)
	}
	for n := e.first + 1; n <= e.last; n++ {
		c.yes(n, "belongs to line %d", e.first)
		if !c.lines[e.first-1].Understood {
			c.lines[n-1].Understood = false
		}
	}
	for _, ch := range e.children {
		c.leftOver(ch)
	}
}

func (c *clusterReader) node(e *element) {
	if e.name != "clusternode" {
		c.no(e.first, "%s: this is not known", e.name)
		c.lost(e)
		return
	}
	full := e.get("name")
	if full == "" {
		c.no(e.first, "the node has no name: left out")
		c.lost(e)
		return
	}
	name := short(full)
	if name != full {
		c.yes(e.first, "head %s: heads have short names", name)
	}
	if id := e.get("nodeid"); id != "" {
		c.yes(e.first, "nodeid: heads number themselves as they join")
	}
	if votes := e.get("votes"); votes != "" && votes != "1" {
		c.no(e.first, "votes=%q: each head has one vote", votes)
	}
	head := c.document.Heads[name]
	for _, ch := range e.children {
		switch ch.name {
		case "fence":
			head.Fence = c.fence(ch, name)
		case "altname":
			c.altname(ch, name, &head)
		case "unfence":
			c.skip(ch, "not needed: only switching off is ever done")
		case "interface", "multicast":
			c.skip(ch, "not needed: heartbeats go from address to address")
		default:
			c.no(ch.first, "%s: this is not known", ch.name)
			c.lost(ch)
		}
	}
	if len(head.Fence) == 0 && len(head.Heartbeats) == 0 {
		return
	}
	if c.document.Heads == nil {
		c.document.Heads = map[string]configuration.Head{}
	}
	c.document.Heads[name] = head
}

// altname is the address of a second ring.
func (c *clusterReader) altname(e *element, node string, head *configuration.Head) {
	text := e.get("name")
	a, err := netip.ParseAddr(text)
	if err != nil {
		c.no(e.first, "altname %q: write its address: heads: %s: heartbeats: [ADDRESS]", text, node)
	} else if !slices.Contains(head.Heartbeats, a) {
		head.Heartbeats = append(head.Heartbeats, a)
		c.yes(e.first, "heartbeats are exchanged with this address too")
	}
	if e.get("port") != "" || e.get("mcast") != "" {
		c.yes(e.first, "heartbeats have port 7947 and go from address to address")
	}
}

func (c *clusterReader) cman(e *element) {
	if two := e.get("two_node"); two == "1" {
		c.document.Arbiter = configuration.ArbiterPair
		c.yes(e.first, "arbiter: pair; with 3 or 5 workers as witnesses it would be safer (arbiter: panel)")
	}
	if e.get("expected_votes") != "" {
		c.yes(e.first, "expected_votes: counted from the heads that have joined")
	}
	for _, a := range e.rest() {
		switch a.Name.Local {
		case "port", "cluster_id", "broadcast", "transport", "keyfile", "nodename", "upgrading", "disallowed", "quorum_dev_poll", "shutdown_timeout", "ccsd_poll",
			"debug_mask", "hash_cluster_id", "deadnode_timeout", "hello_timer", "max_retries", "joinconf_timeout":
			e.used[a.Name.Local] = true
			c.yes(e.first, "%s: not needed", a.Name.Local)
		}
	}
	for _, ch := range e.children {
		if ch.name == "multicast" {
			c.skip(ch, "not needed: heartbeats go from address to address")
			continue
		}
		c.no(ch.first, "%s: this is not known", ch.name)
		c.lost(ch)
	}
}

var addressForm = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b`)

// quorumd is a quorum disk.
func (c *clusterReader) quorumd(e *element) {
	c.no(e.first, "there is no quorum disk here: name 3 or 5 workers as witnesses (arbiter: panel)")
	for _, ch := range e.children {
		program := ch.get("program")
		a, err := netip.ParseAddr(addressForm.FindString(program))
		if ch.name == "heuristic" && strings.Contains(program, "ping") && err == nil && !c.document.Gateway.IsValid() {
			c.document.Gateway = configuration.Gateway{Addr: a}
			c.yes(ch.first, "gateway %s: asked by ARP whether this head's way to its clients is good", a)
			c.quiet(ch)
			continue
		}
		c.no(ch.first, "%s %q: a monitor can ask it (masthead cluster edit)", ch.name, program)
		c.quiet(ch)
	}
	c.quiet(e)
}
