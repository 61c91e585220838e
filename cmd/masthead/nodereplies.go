package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"masthead/appliance/nodeset"
	"masthead/node/wire"
)

// replies shows what nodes answer to a command: folded at the end, or line by line, or as JSON.
type replies struct {
	a     *app
	label bool
	plan  *wire.CommandPlan
	nodes map[string]*reply
}

// reply is what one node has answered.
type reply struct {
	stdout, stderr []byte // what was not printed yet
	done           *wire.CommandResult
}

func newReplies(a *app, label bool) *replies {
	return &replies{a: a, label: label, nodes: map[string]*reply{}}
}

// single reports whether there is one node: its output is shown as if the command ran here.
func (r *replies) single() bool {
	return r.a.output != "json" && !r.label && r.plan != nil && len(r.plan.Nodes) == 1
}

func (r *replies) event(e wire.CommandEvent) error {
	if e.Plan != nil {
		r.plan = e.Plan
	}
	if e.Note != "" {
		fmt.Fprintln(r.a.err, e.Note)
	}
	if e.Node == "" {
		return nil
	}
	n := r.nodes[e.Node]
	if n == nil {
		n = &reply{}
		r.nodes[e.Node] = n
	}
	n.stdout, n.stderr = append(n.stdout, e.Stdout...), append(n.stderr, e.Stderr...)
	if e.Done != nil {
		n.done = e.Done
	}
	switch {
	case r.a.output == "json":
		return nil
	case r.single():
		_, err := r.a.out.Write(n.stdout)
		if err == nil {
			_, err = r.a.err.Write(n.stderr)
		}
		n.stdout, n.stderr = nil, nil
		return err
	case r.label:
		last := e.Done != nil
		return errors.Join(lines(r.a.out, e.Node, &n.stdout, last), lines(r.a.err, e.Node, &n.stderr, last))
	}
	return nil
}

// lines prints the whole lines of text with the node in front, and the rest too if it is the last.
func lines(w io.Writer, node string, text *[]byte, last bool) error {
	end := bytes.LastIndexByte(*text, '\n') + 1
	whole := (*text)[:end]
	if last && end < len(*text) {
		whole = append(slices.Clone(*text), '\n')
		end = len(*text)
	}
	rest := slices.Clone((*text)[end:])
	for line := range bytes.Lines(whole) {
		if _, err := fmt.Fprintf(w, "%s: %s", node, line); err != nil {
			return err
		}
	}
	*text = rest
	return nil
}

// end prints what is left, and gives the error of the whole: err, with which the answer ended, or that of some nodes.
func (r *replies) end(ctx context.Context, err error) error {
	if r.plan == nil {
		return err
	}
	if r.plan.DryRun {
		return errors.Join(err, r.printPlan())
	}
	if r.a.output == "json" {
		if e := r.printJSON(); e != nil {
			return e
		}
	} else if !r.label && !r.single() {
		r.printFolded()
	}
	r.sayTruncated()
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted: %s; what ran was killed", r.unfinished())
	} else if err != nil {
		err = fmt.Errorf("%w: %s", err, r.unfinished())
	}
	return errors.Join(r.failure(), err)
}

// unfinished names the nodes that did not get through.
func (r *replies) unfinished() string {
	var left []string
	for _, name := range r.plan.Nodes {
		if n := r.nodes[name]; n == nil || n.done == nil {
			left = append(left, name)
		}
	}
	return count(left) + " not through: " + nodeset.Fold(left)
}

func count(nodes []string) string {
	if len(nodes) == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", len(nodes))
}

// failure is an error that says which nodes failed and how, those that failed alike on one line.
func (r *replies) failure() error {
	all := map[string][]string{}
	try, failed := "", 0
	for _, name := range r.plan.Nodes {
		n := r.nodes[name]
		if n == nil || n.done == nil || !n.done.Failed() {
			continue
		}
		failed++
		try = cmp.Or(try, n.done.Try)
		all[outcome(n.done)] = append(all[outcome(n.done)], name)
	}
	if failed == 0 {
		return nil
	}
	var b strings.Builder
	if len(r.plan.Nodes) > 1 {
		fmt.Fprintf(&b, "%d of %s failed\n", failed, count(r.plan.Nodes))
	}
	for _, how := range r.inOrder(all) {
		fmt.Fprintf(&b, "  %s: %s\n", nodeset.Fold(all[how]), how)
	}
	return &hint{errors.New(strings.TrimSpace(b.String())), try}
}

// outcome is how a command ended, in words.
func outcome(d *wire.CommandResult) string {
	if d.Error != "" {
		return d.Error
	}
	return fmt.Sprintf("exit status %d", d.Exit)
}

// inOrder gives the keys of groups in the order of their first nodes.
func (r *replies) inOrder(groups map[string][]string) []string {
	return slices.SortedFunc(maps.Keys(groups), func(a, b string) int {
		return nodeset.Compare(groups[a][0], groups[b][0])
	})
}

// rule is as long as that of clush and dshbak, whose output people and their scripts know.
const rule = "---------------"

// printFolded prints each output once, below the nodes that gave it. What went to standard error goes there, with the
// nodes in front.
func (r *replies) printFolded() {
	groups := map[string][]string{}
	for _, name := range r.plan.Nodes {
		n := r.nodes[name]
		if n != nil && len(n.stdout)+len(n.stderr) > 0 {
			key := fmt.Sprintf("%d\x00%s%s", len(n.stdout), n.stdout, n.stderr)
			groups[key] = append(groups[key], name)
		}
	}
	for _, key := range r.inOrder(groups) {
		names := groups[key]
		n, set := r.nodes[names[0]], nodeset.Fold(names)
		if len(n.stdout) > 0 {
			title := set
			if len(names) > 1 {
				title = fmt.Sprintf("%s (%d)", set, len(names))
			}
			fmt.Fprintf(r.a.out, "%s\n%s\n%s\n%s", rule, title, rule, n.stdout)
			if n.stdout[len(n.stdout)-1] != '\n' {
				fmt.Fprintln(r.a.out)
			}
		}
		text := slices.Clone(n.stderr)
		_ = lines(r.a.err, set, &text, true) // a terminal that has gone
	}
}

// sayTruncated tells whose output was more than is shown.
func (r *replies) sayTruncated() {
	var cut []string
	for _, name := range r.plan.Nodes {
		if n := r.nodes[name]; n != nil && n.done != nil && n.done.Truncated {
			cut = append(cut, name)
		}
	}
	if len(cut) > 0 {
		fmt.Fprintf(r.a.err, "%s: only the first %s of the output are here; --label shows all\n", nodeset.Fold(cut), bytesText(wire.DefaultCommandOutput))
	}
}

// replyJSON is one node of -o json.
type replyJSON struct {
	Node string `json:"node"`
	wire.CommandResult
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

func (r *replies) printJSON() error {
	all := []replyJSON{}
	for _, name := range r.plan.Nodes {
		n := r.nodes[name]
		if n == nil {
			n = &reply{}
		}
		j := replyJSON{Node: name, Stdout: string(n.stdout), Stderr: string(n.stderr), CommandResult: wire.CommandResult{Error: "not through"}}
		if n.done != nil {
			j.CommandResult = *n.done
		}
		all = append(all, j)
	}
	return r.a.printJSON(all)
}

// printPlan says which nodes a command would reach.
func (r *replies) printPlan() error {
	if r.a.output == "json" {
		return r.a.printJSON(r.plan)
	}
	fmt.Fprintf(r.a.out, "would run on %s: %s\n", count(r.plan.Nodes), nodeset.Fold(r.plan.Nodes))
	for _, head := range slices.Sorted(maps.Keys(r.plan.Heads)) {
		fmt.Fprintf(r.a.out, "  through %s: %s\n", head, nodeset.Fold(r.plan.Heads[head]))
	}
	absent := map[string][]string{}
	for _, name := range r.plan.Nodes {
		if why, ok := r.plan.Absent[name]; ok {
			absent[why] = append(absent[why], name)
		}
	}
	for _, why := range r.inOrder(absent) {
		fmt.Fprintf(r.a.out, "  reached by no head: %s, %s\n", nodeset.Fold(absent[why]), why)
	}
	return nil
}
