package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"masthead/appliance/nodeset"
	"masthead/appliance/roll"
	"masthead/images"
	"masthead/node/wire"
)

const (
	// rollPoll is how often the nodes of a wave are looked at: their agents report every ten seconds, boots sooner.
	rollPoll = 2 * time.Second
	// rollTell is how long a node may take to fetch and load a kernel and an initramfs.
	rollTell = 5 * time.Minute
)

// one does one wave, and stops the roll if it is bad.
func (r *rolling) one(ctx context.Context, number int, w roll.Wave, nodes []wire.Node) error {
	began := time.Now()
	begun := map[string]roll.Begun{}
	for _, n := range nodes {
		if slices.Contains(w.Nodes(), n.Name) {
			begun[n.Name] = roll.Begun{Boot: n.Boot, Image: n.Wanted, Told: slices.Contains(w.Restart, n.Name)}
		}
	}
	text := "restarting " + nodeset.Fold(w.Restart)
	if len(w.Restart) == 0 {
		text = "waiting for " + nodeset.Fold(w.Await)
	} else if len(w.Await) > 0 {
		text += ", waiting for " + nodeset.Fold(w.Await)
	}
	r.say("wave %d: %s", number, text)
	methods, bad := r.tell(ctx, w.Restart)
	err := r.await(ctx, w, begun, bad, began)
	if err == nil {
		err = r.examine(ctx, w, bad)
	}
	report := waveReport{Nodes: w.Nodes(), Took: time.Since(began).Round(time.Millisecond).Seconds(), Methods: methods, Bad: bad}
	r.report.Waves = append(r.report.Waves, report)
	for name, why := range bad {
		r.bad[name] = why
	}
	if err != nil {
		return &hint{err, r.again()}
	}
	if roll.Stop(len(r.bad), r.maxFailed) {
		return r.stopped(number, w)
	}
	if len(bad) == 0 {
		r.say("wave %d: good, %.0f s", number, report.Took)
	}
	return nil
}

// stopped is the error of a bad wave: which nodes, why, and what to type.
func (r *rolling) stopped(number int, w roll.Wave) error {
	var lines []string
	names := make([]string, 0, len(r.bad))
	for name := range r.bad {
		names = append(names, name)
	}
	slices.SortFunc(names, nodeset.Compare)
	for _, name := range names {
		lines = append(lines, name+": "+r.bad[name])
	}
	r.report.Stopped = strings.Join(lines, "; ")
	try := "masthead node why " + names[0]
	if r.back {
		try += ", then " + r.again()
	} else {
		// All that was restarted so far has the image; what was not has what it had.
		try += "; to go back: masthead node roll --back " + quoteSet(nodeset.Fold(r.rolled()))
	}
	return &hint{fmt.Errorf("wave %d (%s) is bad, the roll stops\n  %s", number, nodeset.Fold(w.Nodes()), strings.Join(lines, "\n  ")), try}
}

// again is the command that goes on with this roll.
func (r *rolling) again() string {
	if r.back {
		return "masthead node roll --back " + quoteSet(r.set)
	}
	return "masthead node roll " + quoteSet(r.set)
}

// rolled are all nodes of the waves so far.
func (r *rolling) rolled() []string {
	var all []string
	for _, w := range r.report.Waves {
		all = append(all, w.Nodes...)
	}
	slices.SortFunc(all, nodeset.Compare)
	return all
}

// quoteSet is a node set for a shell.
func quoteSet(set string) string {
	if strings.ContainsAny(set, "[]~*? ()$") {
		return "'" + set + "'"
	}
	return set
}

// tell has nodes restart, and gives the methods of those that do, and those that cannot and why. A node that restarts may
// not get to say that it does.
func (r *rolling) tell(ctx context.Context, names []string) (methods, bad map[string]string) {
	methods, bad = map[string]string{}, map[string]string{}
	if len(names) == 0 {
		return methods, bad
	}
	c := wire.Command{Kind: wire.CommandExec, Timeout: rollTell.Seconds(), Output: wire.DefaultCommandOutput}
	if words := rollMethods[r.method]; len(words) == 1 {
		c.Shell = words[0]
	} else {
		c.Argv = words
	}
	answers := r.execute(ctx, names, c)
	for _, name := range names {
		s := answers[name]
		if s == nil {
			continue
		}
		if s.done != nil && s.done.Exit != 0 && s.done.Error == "" {
			bad[name] = "it does not restart: " + cmp.Or(s.text(), fmt.Sprintf("exit status %d", s.done.Exit))
			continue
		}
		how, method := s.how()
		if how != "" {
			r.say("  %s: %s", name, how)
		}
		methods[name] = cmp.Or(method, "unknown")
	}
	return methods, bad
}

// answer is what one node said to a command.
type answer struct {
	out  []byte
	done *wire.CommandResult
}

// text is the first line of what it said.
func (s *answer) text() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(s.out)), "\n")
	return line
}

// how is the line in which masthead reboot says how the machine restarts, after what it could not do, and the method; empty:
// the node did not get to say it.
func (s *answer) how() (how, method string) {
	for line := range strings.Lines(string(s.out)) {
		for _, m := range []struct{ says, method string }{{saysSoft, "soft"}, {saysKexec, "kexec"}, {saysFirmware, "firmware"}} {
			if strings.HasPrefix(line, m.says) {
				how, method = strings.TrimSpace(line), m.method // the last one: what was said before has failed
			}
		}
	}
	return how, method
}

// execute runs a command on nodes. One that nothing was heard of has no result.
func (r *rolling) execute(ctx context.Context, names []string, c wire.Command) map[string]*answer {
	all := map[string]*answer{}
	for _, name := range names {
		all[name] = &answer{}
	}
	err := r.c.Command(ctx, wire.CommandRequest{Nodes: strings.Join(names, ","), Command: c}, nil, func(e wire.CommandEvent) error {
		if s := all[e.Node]; s != nil {
			s.out = append(append(s.out, e.Stdout...), e.Stderr...)
			s.done = cmp.Or(e.Done, s.done)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(r.a.err, "warning: %v\n", err) // what the nodes do shows whether they heard it
	}
	return all
}

// await looks at the nodes of a wave until each is good or bad, and adds those that are bad.
func (r *rolling) await(ctx context.Context, w roll.Wave, begun map[string]roll.Begun, bad map[string]string, began time.Time) error {
	good := map[string]bool{}
	tick := time.NewTicker(rollPoll)
	defer tick.Stop()
	var trouble error // of asking: a head may restart, or another answer for it
	for len(good)+len(bad) < len(begun) {
		nodes, err := r.nodes(ctx)
		if trouble = err; err == nil {
			r.look(nodes, begun, good, bad, time.Since(began))
		}
		if len(good)+len(bad) == len(begun) {
			break
		}
		if trouble != nil && time.Since(began) > r.timeout {
			return fmt.Errorf("the nodes of the wave are not known: %w", trouble)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("broken off while %s restart: they go on by themselves", nodeset.Fold(w.Nodes()))
		case <-tick.C:
		}
	}
	return r.reasons(ctx, bad)
}

// look judges the nodes of a wave as they are now.
func (r *rolling) look(nodes []wire.Node, begun map[string]roll.Begun, good map[string]bool, bad map[string]string, elapsed time.Duration) {
	for _, n := range nodes {
		b, ours := begun[n.Name]
		if !ours || good[n.Name] || bad[n.Name] != "" {
			continue
		}
		switch state, why := roll.Judge(b, n, elapsed, r.timeout); state {
		case roll.Good:
			good[n.Name] = true
			r.say("  %s is up with %s after %.0f s", n.Name, n.Running.Short(), elapsed.Seconds())
		case roll.Bad:
			bad[n.Name] = why
			r.say("  %s is bad: %s", n.Name, why)
		}
	}
}

// reasons adds what a failed boot said of itself.
func (r *rolling) reasons(ctx context.Context, bad map[string]string) error {
	for name, why := range bad {
		story, err := r.c.Why(ctx, name)
		if err != nil {
			continue // what is known is told
		}
		for _, s := range story.Stages {
			if s.Outcome == wire.OutcomeFailed && s.Cause != "" && !strings.Contains(why, s.Cause) {
				bad[name] = why + ": " + s.Cause
			}
		}
	}
	return nil
}

// examine runs the check on the nodes that came up.
func (r *rolling) examine(ctx context.Context, w roll.Wave, bad map[string]string) error {
	var up []string
	for _, name := range w.Nodes() {
		if bad[name] == "" {
			up = append(up, name)
		}
	}
	if r.check == "" || len(up) == 0 {
		return nil
	}
	c := wire.Command{Kind: wire.CommandExec, Shell: r.check, Timeout: min(r.timeout, wire.MaxCommandTimeout).Seconds(), Output: wire.DefaultCommandOutput}
	for name, s := range r.execute(ctx, up, c) {
		switch {
		case s.done == nil:
			bad[name] = "check: no answer"
		case s.done.Failed():
			bad[name] = strings.TrimSuffix("check: "+outcome(s.done)+": "+s.text(), ": ")
		}
	}
	if ctx.Err() != nil {
		return errors.New("broken off while the check ran")
	}
	return nil
}

// goBack makes the tag of the nodes mean what it meant before.
func (r *rolling) goBack(ctx context.Context, nodes []wire.Node) error {
	tag, err := r.tagOf(ctx, nodes)
	if err != nil {
		return err
	}
	t, err := r.c.Image(ctx, tag)
	if err != nil {
		return err
	}
	to, done, err := roll.Back(t.Versions)
	if err != nil {
		return &hint{fmt.Errorf("go back from %s: %w", tag, err), "masthead image show " + tag}
	}
	now, _ := t.Now()
	if done {
		r.say("%s means %s again already", tag, to.Short())
		return nil
	}
	if r.dryRun {
		r.report.Back = &wire.ImageChanged{Tag: tag, Old: now.Digest, New: to}
		r.say("would go back: %s: %s -> %s, for all nodes of the tag", tag, now.Digest.Short(), to.Short())
		for i := range nodes {
			if nodes[i].Wanted == now.Digest {
				nodes[i].Wanted = to
			}
		}
		return nil
	}
	changed, err := r.c.RollbackImage(ctx, tag, wire.ImageChange{})
	if err != nil {
		return err
	}
	r.report.Back = &changed
	r.say("back: %s: %s -> %s, for all nodes of the tag", tag, changed.Old.Short(), changed.New.Short())
	r.a.sayDegraded(changed.Degraded)
	return nil
}

// tagOf is the tag that the nodes run.
func (r *rolling) tagOf(ctx context.Context, nodes []wire.Node) (string, error) {
	if r.tag != "" {
		return r.tag, nil
	}
	list, err := r.c.Images(ctx)
	if err != nil {
		return "", err
	}
	var tags []string
	for _, n := range nodes {
		tags = append(tags, tagsOf(n, list)...)
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	switch len(tags) {
	case 0:
		return "", &hint{errors.New("the nodes run no tag"), "masthead node set NODESET --image DIGEST"}
	case 1:
		return tags[0], nil
	}
	return "", &hint{fmt.Errorf("the nodes run several tags: %s", strings.Join(tags, ", ")), "masthead node roll --back " + quoteSet(r.set) + " --tag " + tags[0]}
}

// tagsOf are the tags that a node's image can be meant by: the one that is named for it, or those that mean what it is
// to run.
func tagsOf(n wire.Node, list []wire.Image) []string {
	if _, err := images.ParseDigest(n.Image); n.Image != "" && err != nil {
		return []string{n.Image}
	} else if err == nil {
		return nil // pinned
	}
	var tags []string
	for _, i := range list {
		if i.Digest == n.Wanted && i.Role == images.RoleWorker {
			tags = append(tags, i.Tag)
		}
	}
	return tags
}
