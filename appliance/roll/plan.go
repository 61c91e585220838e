package roll

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"masthead/node/wire"
)

// DefaultWave is the part of the nodes that is restarted at once: a tenth, and one at least.
const DefaultWave = "10%"

// ParseWave reads the size of a wave, a number or a percentage, for so many nodes. A percentage is rounded down, and is
// one node at least.
func ParseWave(text string, nodes int) (int, error) {
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(number)
	switch {
	case err != nil, n < 1, percent && n > 100:
		return 0, fmt.Errorf("wave %q: want a number of nodes from 1, or 1%% to 100%%", text)
	case percent:
		return max(1, nodes*n/100), nil
	}
	return n, nil
}

// Part is what a roll does with a node.
type Part int

const (
	Done    Part = iota // it runs what it is to run
	Restart             // it runs something else
	Await               // it is on its way, or fails and starts again by itself: the roll waits for it
	Absent              // it is off, silent or unknown, and takes the image when it starts
	NoImage             // it has no image to run
)

// PartOf says what a roll does with a node.
func PartOf(n wire.Node) Part {
	switch {
	case n.Wanted == "":
		return NoImage
	case n.Phase == wire.PhaseUp && n.Running == n.Wanted:
		return Done
	case n.Phase == wire.PhaseUp:
		return Restart
	case n.Phase == wire.PhaseBooting, n.Phase == wire.PhaseFailed:
		return Await
	}
	return Absent
}

// Panel are the witnesses of who owns the cluster, by name, and whether each is up now.
type Panel map[string]bool

// spare is how many witnesses more may be away before there is no majority of them.
func (p Panel) spare() int {
	up := 0
	for _, here := range p {
		if here {
			up++
		}
	}
	return up - (len(p)/2 + 1)
}

// Wave is what is done at once.
type Wave struct {
	Restart []string // are told to restart
	Await   []string // start by themselves
}

// Nodes are all of them, in order.
func (w Wave) Nodes() []string {
	return slices.Sorted(slices.Values(append(slices.Clone(w.Restart), w.Await...)))
}

// Blocked is a roll that cannot go on: what is left are witnesses, and without one more of them no majority of the panel
// would be there. If the owner of the cluster failed then, nobody could follow it.
type Blocked struct {
	Left []string // the witnesses that are to be restarted
	Away []string // those that are away
	Of   int
}

func (b *Blocked) Error() string {
	text := fmt.Sprintf("%s are witnesses of who owns the cluster, and one less would leave no majority of the %d", strings.Join(b.Left, ", "), b.Of)
	if len(b.Left) == 1 {
		text = fmt.Sprintf("%s is a witness of who owns the cluster, and without it there would be no majority of the %d", b.Left[0], b.Of)
	}
	if len(b.Away) > 0 {
		text += ": " + strings.Join(b.Away, ", ") + " away already"
	}
	return text
}

func (b *Blocked) Try() string {
	if len(b.Away) > 0 {
		return "masthead node why " + b.Away[0]
	}
	return "name three witnesses or five: masthead cluster edit"
}

// Next is the next wave of at most size nodes, in the order of nodes; those that start by themselves come first, since
// they are away already. The zero Wave is the end. A wave never takes so many witnesses that their majority is away; where
// nothing else is left the error is a *Blocked.
func Next(nodes []wire.Node, panel Panel, size int) (Wave, error) {
	var w Wave
	for _, n := range nodes {
		if PartOf(n) == Await && len(w.Await) < size {
			w.Await = append(w.Await, n.Name)
		}
	}
	spare := panel.spare()
	var held []string
	for _, n := range nodes {
		if PartOf(n) != Restart || len(w.Restart)+len(w.Await) >= size {
			continue
		}
		if _, witness := panel[n.Name]; witness {
			if spare <= 0 {
				held = append(held, n.Name)
				continue
			}
			spare--
		}
		w.Restart = append(w.Restart, n.Name)
	}
	if len(w.Restart)+len(w.Await) == 0 && len(held) > 0 {
		b := &Blocked{Left: held, Of: len(panel)}
		for name, here := range panel {
			if !here {
				b.Away = append(b.Away, name)
			}
		}
		slices.Sort(b.Away)
		return Wave{}, b
	}
	return w, nil
}

// Plan is all waves of a roll in which everything goes well.
func Plan(nodes []wire.Node, panel Panel, size int) ([]Wave, error) {
	nodes = slices.Clone(nodes)
	panel = clonePanel(panel)
	var all []Wave
	for {
		w, err := Next(nodes, panel, size)
		if err != nil || len(w.Nodes()) == 0 {
			return all, err
		}
		all = append(all, w)
		for i, n := range nodes {
			if slices.Contains(w.Nodes(), n.Name) {
				nodes[i].Phase, nodes[i].Running = wire.PhaseUp, n.Wanted
				if _, witness := panel[n.Name]; witness {
					panel[n.Name] = true
				}
			}
		}
	}
}

func clonePanel(p Panel) Panel {
	c := Panel{}
	for name, here := range p {
		c[name] = here
	}
	return c
}
