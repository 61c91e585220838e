package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// Journey is the whole way of an administrator with two blank servers: the first is installed from the ISO, the second is
// made its backup, workers boot from them, a database lives on their replicated volume; the first one's power is pulled, and
// it comes back. One goroutine uses it.
type Journey struct {
	*Cluster
	vip     netip.Addr
	a, b    string // the heads
	clients map[string]*wire.Client
	over    *Takeover         // from the step on at which both heads are there
	writer  Writer            // to the database, from outside
	boots   map[string]string // of the workers
}

// Passed is what became of a step.
type Passed struct {
	Step   string  `json:"step"`
	What   string  `json:"what"`
	Found  string  `json:"found"`
	Owner  string  `json:"owner,omitempty"`
	Epoch  string  `json:"epoch,omitempty"`
	Gap    float64 `json:"gap_ms,omitempty"` // the virtual address was silent for
	Writes int     `json:"writes"`           // acknowledged since the beginning
	Lost   int     `json:"lost"`             // of those
	Took   float64 `json:"took"`             // seconds
	Failed string  `json:"failed,omitempty"`
}

// Bounds of steps, where the processors are emulated.
const (
	installWithin = 12 * time.Minute
	makerWithin   = 20 * time.Minute
	workerWithin  = 6 * time.Minute
	syncWithin    = 6 * time.Minute
)

// writePause leaves the heads some time for what the journey is about.
const writePause = 200 * time.Millisecond

var journey = []struct {
	name, what string
	do         func(*Journey, context.Context, *Passed) error
}{
	{"install", "a blank machine is installed from the ISO, with nobody there", (*Journey).install},
	{"database", "MariaDB on a volume that is to be replicated, and a client that writes from outside", (*Journey).database},
	{"master-maker", "another blank machine is made the backup, by one command on the master", (*Journey).backup},
	{"workers", "diskless workers boot from the heads", (*Journey).boot},
	{"pair", "the heads are given what switches one another off", (*Journey).pair},
	{"power-cut", "the master's plug is pulled while the client writes", (*Journey).powerCut},
	{"return", "the old master is switched on again", (*Journey).back},
	{"switch", "the cluster is moved back, by command", (*Journey).switchBack},
	{"verify", "both copies of the data are compared", (*Journey).verify},
}

// NewJourney begins one in a lab that is up, whose first head is blank with the ISO in its drive, and whose second is off.
func NewJourney(c *Cluster, vip netip.Addr) (*Journey, error) {
	heads := c.Named(images.RoleHead)
	if len(heads) != 2 {
		return nil, fmt.Errorf("the lab has %d heads, want 2", len(heads))
	}
	j := &Journey{Cluster: c, vip: vip, a: heads[0], b: heads[1], clients: map[string]*wire.Client{}, boots: map[string]string{}}
	j.writer.SetPause(writePause)
	return j, nil
}

// Run goes all the way, and tells of each step when it begins and when it has ended. It stops at the first that fails.
func (j *Journey) Run(ctx context.Context, begins func(step, what string), ended func(Passed)) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var writing sync.WaitGroup
	defer func() {
		cancel()
		writing.Wait()
		if j.over != nil {
			err = errors.Join(err, j.over.Close())
		}
	}()
	for _, step := range journey {
		begins(step.name, step.what)
		p := Passed{Step: step.name, What: step.what}
		began := time.Now()
		err := step.do(j, ctx, &p)
		p.Took, p.Writes = time.Since(began).Seconds(), len(j.writer.Acknowledged())
		if err != nil {
			p.Failed = err.Error()
		}
		ended(p)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if step.name == "database" {
			writing.Go(func() { j.writer.Run(ctx, j.Cluster) })
		}
	}
	return nil
}
