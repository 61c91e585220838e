package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"masthead/appliance/configuration"
	"masthead/appliance/nodeset"
	"masthead/appliance/roll"
	"masthead/images"
	"masthead/node/wire"
)

const nodeRollHelp = `Restarts nodes that run another image than they are to run (masthead node list needs-reboot=true), in waves.

A wave is good when each of its nodes is up with the image within --timeout, and --check, if given, ends with 0 on it.
At the first wave with more than --max-failed bad nodes the roll stops and says which and why. Nodes that run the image
are skipped, so the same command goes on with a roll that was stopped or broken off. Nodes that are off take the image
when they start. Of the workers that are witnesses of who owns the cluster, a majority is always up.

--method soft keeps the kernel and changes the root, kexec goes past the firmware, and reboot through it.

--back makes the tag of the nodes mean what it meant before, and rolls the nodes back to that. Nodes whose boot fails
start again by themselves and are waited for.

`

// rollMethods are the ways to restart a node. With auto the quickest that it can counts: softly, where kernel and initramfs
// stay the same and systemd is new enough; by kexec, where a kernel can be loaded; through the firmware.
var rollMethods = map[string][]string{
	"auto":   {images.RunBinary + " reboot --soft || " + images.RunBinary + " reboot --kexec || " + images.RunBinary + " reboot"},
	"soft":   {images.RunBinary, "reboot", "--soft"},
	"kexec":  {images.RunBinary, "reboot", "--kexec"},
	"reboot": {images.RunBinary, "reboot"},
}

// rollFlags are what node roll takes.
type rollFlags struct {
	wave, method, check, tag string
	maxFailed                int
	timeout                  time.Duration
	back, dryRun             bool
}

// rollTimeout is long enough for a server's firmware and a root that many fetch at once.
const rollTimeout = 15 * time.Minute

func (a *app) nodeRollCommand() *cobra.Command {
	var f rollFlags
	cmd := &cobra.Command{
		Use: "roll NODESET", Short: "Restart nodes into the image that they are to run, wave by wave, and stop where it goes wrong", Long: nodeRollHelp + nodeSetHelp,
		Example: "  masthead node roll needs-reboot=true --dry-run\n  masthead node roll @rack1 --wave 4 --check 'systemctl is-active slurmd'\n  masthead node roll --back @rack1",
		Args:    exactArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if rollMethods[f.method] == nil {
				return usageError{&hint{fmt.Errorf("--method %s: want auto, soft, kexec or reboot", f.method), cmd.CommandPath() + " --help"}}
			}
			if f.maxFailed < 0 {
				return usageError{fmt.Errorf("--max-failed %d: want 0 or more", f.maxFailed)}
			}
			if _, err := roll.ParseWave(f.wave, 1); err != nil {
				return usageError{fmt.Errorf("--wave: %w", err)}
			}
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			r := &rolling{rollFlags: f, a: a, c: c, set: args[0], report: rollReport{Waves: []waveReport{}}}
			err = r.run(cmd.Context())
			if a.output == "json" {
				err = errors.Join(err, a.printJSON(r.report))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&f.wave, "wave", roll.DefaultWave, "nodes at once: a number, or a part of them")
	cmd.Flags().IntVar(&f.maxFailed, "max-failed", 0, "bad nodes that the roll bears, all waves together")
	cmd.Flags().StringVar(&f.method, "method", "auto", "soft, kexec, reboot, or auto: the first of these that can be done")
	cmd.Flags().DurationVar(&f.timeout, "timeout", rollTimeout, "time for a wave to be up")
	cmd.Flags().StringVar(&f.check, "check", "", "line for the shell of each node that must end with 0 before the wave is good")
	cmd.Flags().BoolVar(&f.back, "back", false, "go back to the image before, and roll to that")
	cmd.Flags().StringVar(&f.tag, "tag", "", "with --back: the tag to take back, where the nodes run several")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show the waves, and restart nothing")
	a.outputFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("method", cobra.FixedCompletions([]string{"auto", "soft", "kexec", "reboot"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("tag", a.completeTags(math.MaxInt, forWorkers))
	return cmd
}

// rolling is one roll under way.
type rolling struct {
	rollFlags
	a   *app
	c   *wire.Client
	set string

	report  rollReport
	members []string // the nodes that the set named at the start: needs-reboot=true is another set after each wave
	bad     map[string]string
}

// rollReport is what a roll did, for -o json.
type rollReport struct {
	Back    *wire.ImageChanged `json:"back,omitempty"`
	Waves   []waveReport       `json:"waves"`
	Skipped map[string]string  `json:"skipped,omitempty"` // why
	Stopped string             `json:"stopped,omitempty"` // why
}

type waveReport struct {
	Nodes   []string          `json:"nodes"`
	Took    float64           `json:"took"`              // seconds
	Methods map[string]string `json:"methods,omitempty"` // of those that restarted: soft, kexec, firmware, or unknown
	Bad     map[string]string `json:"bad,omitempty"`
}

// say is progress: lines for people.
func (r *rolling) say(format string, args ...any) {
	if r.a.output != "json" {
		fmt.Fprintf(r.a.out, format+"\n", args...)
	}
}

func (r *rolling) run(ctx context.Context) error {
	nodes, err := r.begin(ctx)
	if err != nil {
		return err
	}
	if r.back {
		if err := r.goBack(ctx, nodes); err != nil {
			return err
		}
		if !r.dryRun {
			if nodes, err = r.nodes(ctx); err != nil {
				return err
			}
		}
	}
	size, err := roll.ParseWave(r.wave, len(nodes))
	if err != nil {
		return usageError{fmt.Errorf("--wave: %w", err)}
	}
	panel, err := r.panel(ctx)
	if err != nil {
		return err
	}
	r.skip(nodes)
	if r.dryRun {
		return r.plan(nodes, panel, size)
	}
	r.bad = map[string]string{}
	for number := 1; ; number++ {
		w, err := roll.Next(r.left(nodes), panel, size)
		if err != nil {
			return err
		}
		if len(w.Nodes()) == 0 {
			return r.end()
		}
		if err := r.one(ctx, number, w, nodes); err != nil {
			return err
		}
		if nodes, err = r.nodes(ctx); err != nil {
			return err
		}
		if panel, err = r.panel(ctx); err != nil {
			return err
		}
	}
}

// begin notes which nodes the set names.
func (r *rolling) begin(ctx context.Context) ([]wire.Node, error) {
	all, err := r.c.BriefNodes(ctx, r.set)
	if err != nil {
		return nil, err
	}
	var heads []string
	for _, n := range all {
		if n.Attrs["role"] == string(images.RoleHead) {
			heads = append(heads, n.Name)
			continue
		}
		r.members = append(r.members, n.Name)
	}
	if len(heads) > 0 {
		fmt.Fprintf(r.a.err, "heads are left out, they run what they booted from: %s\n", nodeset.Fold(heads))
	}
	if len(r.members) == 0 && r.set != "needs-reboot=true" {
		return nil, &hint{fmt.Errorf("no node matches %s", r.set), "masthead node list"}
	}
	return r.nodes(ctx)
}

// nodes are those of the roll as they are now.
func (r *rolling) nodes(ctx context.Context) ([]wire.Node, error) {
	if len(r.members) == 0 {
		return nil, nil
	}
	return r.c.BriefNodes(ctx, strings.Join(r.members, ","))
}

// left are the nodes that were not found bad: what is bad once is not tried again by the same roll.
func (r *rolling) left(nodes []wire.Node) []wire.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n wire.Node) bool { return r.bad[n.Name] != "" })
}

// panel are the witnesses of who owns the cluster.
func (r *rolling) panel(ctx context.Context) (roll.Panel, error) {
	cfg, err := r.c.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := configuration.Parse("cluster", []byte(cfg.Text))
	if err != nil || len(doc.Witnesses) == 0 {
		return nil, err
	}
	nodes, err := r.c.BriefNodes(ctx, "")
	if err != nil {
		return nil, err
	}
	p := roll.Panel{}
	for _, name := range doc.Witnesses {
		p[name] = slices.ContainsFunc(nodes, func(n wire.Node) bool {
			return n.Name == name && n.Phase == wire.PhaseUp
		})
	}
	return p, nil
}

// skip says which nodes the roll leaves alone, and why.
func (r *rolling) skip(nodes []wire.Node) {
	why := map[roll.Part]string{
		roll.Done: "up with the image already", roll.Absent: "off or silent; what starts gets the image", roll.NoImage: "no image to run: masthead image list",
	}
	names := map[roll.Part][]string{}
	for _, n := range nodes {
		p := roll.PartOf(n)
		if text := why[p]; text != "" {
			names[p] = append(names[p], n.Name)
			if r.report.Skipped == nil {
				r.report.Skipped = map[string]string{}
			}
			r.report.Skipped[n.Name] = text
		}
	}
	for _, p := range []roll.Part{roll.Done, roll.Absent, roll.NoImage} {
		if len(names[p]) > 0 {
			r.say("skipped %s: %s", nodeset.Fold(names[p]), why[p])
		}
	}
}

// plan shows the waves of a roll in which everything goes well.
func (r *rolling) plan(nodes []wire.Node, panel roll.Panel, size int) error {
	waves, err := roll.Plan(nodes, panel, size)
	if len(waves) == 0 && err == nil {
		r.say("nothing to do")
	}
	for i, w := range waves {
		r.report.Waves = append(r.report.Waves, waveReport{Nodes: w.Nodes()})
		text := "would restart " + nodeset.Fold(w.Restart)
		if len(w.Await) > 0 {
			text = strings.TrimSuffix("would wait for "+nodeset.Fold(w.Await)+", "+text, ", would restart ")
		}
		r.say("wave %d: %s", i+1, text)
	}
	return err
}

// end says how the whole went.
func (r *rolling) end() error {
	done := 0
	for _, w := range r.report.Waves {
		done += len(w.Nodes) - len(w.Bad)
	}
	switch {
	case len(r.report.Waves) == 0:
		r.say("nothing to do")
	case len(r.bad) == 0:
		r.say("done: %d of %d nodes run it", done, done)
	default:
		r.say("done: %d of %d nodes run it, and as many as --max-failed bears do not", done, done+len(r.bad))
	}
	return nil
}
