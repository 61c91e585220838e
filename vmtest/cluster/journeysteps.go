package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"gopkg.in/yaml.v3"

	"masthead/images"
	"masthead/node/wire"
)

// install waits until the first head has installed itself and starts from its disk.
func (j *Journey) install(ctx context.Context, p *Passed) error {
	ctx, cancel := context.WithTimeout(ctx, installWithin)
	defer cancel()
	console := j.Machine(j.a).Console
	on, err := console.Expect(ctx, `installed: head `+j.a+` on (\S+)`)
	if err != nil {
		return err
	}
	if _, err := console.Expect(ctx, `slot a standing=good`); err != nil {
		return err
	}
	if j.clients[j.a], _, err = j.Head(ctx, j.a); err != nil {
		return err
	}
	p.Found = "installed on " + strings.TrimRight(on[1], ".,") + ", started from it"
	return nil
}

// database gives the cluster of one head its volume and its service.
func (j *Journey) database(ctx context.Context, p *Passed) error {
	head := j.clients[j.a]
	if _, err := AwaitOwner(ctx, head, j.a); err != nil {
		return err
	}
	if err := (Database{j.Cluster}).Define(ctx, head, j.a); err != nil {
		return err
	}
	text, err := alone(j.Config().Cluster)
	if err != nil {
		return err
	}
	if _, err := head.SetCluster(ctx, wire.ClusterChange{Text: text, Version: -1}); err != nil {
		return err
	}
	if err := j.serves(ctx, j.a); err != nil {
		return err
	}
	if err := (Database{j.Cluster}).Create(ctx, head, j.a); err != nil {
		return err
	}
	p.Found = "a volume with one copy, a database on it"
	return j.owner(ctx, j.a, p)
}

// backup makes the second head, as an administrator does on the first one.
func (j *Journey) backup(ctx context.Context, p *Passed) error {
	if err := j.writer.Await(ctx, storyWrites, j.a, 5); err != nil {
		return err
	}
	if err := j.PowerOn(ctx, j.b); err != nil {
		return err
	}
	line := fmt.Sprintf("masthead master-maker %s --name %s --address 10.77.0.2/24 --yes", j.Machine(j.b).MAC(0), j.b)
	said, err := Shell(ctx, j.clients[j.a], j.a, line, nil, makerWithin)
	if err != nil {
		return err
	}
	if j.clients[j.b], _, err = j.Head(ctx, j.b); err != nil {
		return err
	}
	if err := j.AwaitMember(ctx, j.clients[j.a], j.b); err != nil {
		return err
	}
	config, err := j.clients[j.a].Cluster(ctx)
	if err != nil {
		return err
	}
	for _, head := range []string{j.a, j.b} {
		if n, err := cables(config.Text, head); err != nil || n != 1 {
			return fmt.Errorf("master-maker gave %s %d serial cables, want 1: %w\n%s", head, n, err, said)
		}
	}
	if err := j.inSync(ctx); err != nil {
		return err
	}
	p.Found = "installed, joined, serial cable found, data in step"
	return j.owner(ctx, j.a, p)
}

func (j *Journey) boot(ctx context.Context, p *Passed) error {
	ctx, cancel := context.WithTimeout(ctx, workerWithin)
	defer cancel()
	workers := j.Named(images.RoleWorker)
	var all errgroup.Group
	for _, name := range workers {
		all.Go(func() error {
			head := j.clients[j.a]
			if err := j.Register(ctx, head, name, wire.NodeChange{}); err != nil {
				return err
			}
			return j.Follow(ctx, head, name, "", func(wire.StageResult) {})
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	for _, name := range workers {
		j.boots[name] = LastBoot(ctx, j.clients[j.a], name)
	}
	p.Found = strings.Join(workers, ", ") + " are up"
	return nil
}

// pair gives the cluster the lab's whole configuration, and begins to watch the virtual address.
func (j *Journey) pair(ctx context.Context, p *Passed) (err error) {
	if j.over, err = Watched(ctx, j.Cluster, Prepared{VIP: j.vip, Clients: j.clients}); err != nil {
		return err
	}
	if _, _, _, err := j.over.Whole(ctx); err != nil {
		return err
	}
	p.Found = "links up, fence devices answer"
	return j.owner(ctx, j.a, p)
}

func (j *Journey) powerCut(ctx context.Context, p *Passed) error {
	if err := j.writer.Await(ctx, storyWrites, j.a, 5); err != nil {
		return err
	}
	from := j.over.Record.Now()
	if err := j.PowerCut(j.a); err != nil {
		return err
	}
	if err := j.over.AwaitTaken(ctx, j.b, bootWithin); err != nil {
		return err
	}
	gap, double := j.over.Silence(from)
	p.Gap = float64(gap.Milliseconds())
	if double > 0 {
		return errors.New("both heads answered for the virtual address")
	}
	if err := j.serves(ctx, j.b); err != nil {
		return err
	}
	if err := j.writer.Await(ctx, storyWrites, j.b, 5); err != nil {
		return err
	}
	for name, boot := range j.boots {
		if now := LastBoot(ctx, j.clients[j.b], name); now != boot {
			return fmt.Errorf("worker %s started again", name)
		}
	}
	s, err := j.clients[j.b].Owner(ctx)
	if err != nil {
		return err
	}
	p.Found = "the same rows, workers untouched; " + takeoverParts(s, gap)
	return errors.Join(j.nothingLost(ctx, j.b, p), j.owner(ctx, j.b, p))
}

// takeoverParts says what the silence of a virtual address that opens last was made of: the times are the new owner's.
func takeoverParts(s wire.OwnerStatus, gap time.Duration) string {
	for _, one := range s.Services {
		if len(one.Resources) == 0 {
			continue
		}
		parts := []string{fmt.Sprintf("owner after %.1f s", (gap - one.Since.Sub(s.Since)).Seconds())}
		from := s.Since
		for _, r := range one.Resources {
			parts = append(parts, fmt.Sprintf("%s %.1f s", r.Name, r.Since.Sub(from).Seconds()))
			from = r.Since
		}
		return strings.Join(parts, ", ")
	}
	return "no service"
}

func (j *Journey) back(ctx context.Context, p *Passed) error {
	from := j.over.Record.Now()
	if err := j.PowerOn(ctx, j.a); err != nil {
		return err
	}
	owner, _, _, err := j.over.Whole(ctx)
	if err != nil {
		return err
	}
	if owner != j.b {
		return fmt.Errorf("%s took the cluster back, unasked", owner)
	}
	if err := j.inSync(ctx); err != nil {
		return err
	}
	gap, _ := j.over.Silence(from)
	p.Gap = float64(gap.Milliseconds())
	p.Found = j.a + " is standby, its data in step again"
	return errors.Join(j.nothingLost(ctx, j.b, p), j.owner(ctx, j.b, p))
}

func (j *Journey) switchBack(ctx context.Context, p *Passed) error {
	from := j.over.Record.Now()
	if _, err := Shell(ctx, j.clients[j.b], j.b, "masthead head switch --to "+j.a, nil, syncWithin); err != nil {
		return err
	}
	if err := j.over.AwaitTaken(ctx, j.a, bootWithin); err != nil {
		return err
	}
	gap, double := j.over.Silence(from)
	p.Gap = float64(gap.Milliseconds())
	if double > 0 {
		return errors.New("both heads answered for the virtual address")
	}
	if err := errors.Join(j.serves(ctx, j.a), j.writer.Await(ctx, storyWrites, j.a, 5), j.inSync(ctx)); err != nil {
		return err
	}
	p.Found = "the same rows"
	return errors.Join(j.nothingLost(ctx, j.a, p), j.owner(ctx, j.a, p))
}

func (j *Journey) verify(ctx context.Context, p *Passed) error {
	out, err := Shell(ctx, j.clients[j.a], j.a, "masthead data verify", nil, syncWithin)
	if err != nil {
		return err
	}
	if !strings.Contains(out, "no differences") {
		return fmt.Errorf("the copies differ: %s", strings.TrimSpace(out))
	}
	p.Found = "no differences"
	return j.nothingLost(ctx, j.a, p)
}

// storyWrites bounds a few writes: a database that has just been taken over recovers first.
const storyWrites = 3 * time.Minute

// owner notes who owns the cluster, which is to be one head.
func (j *Journey) owner(ctx context.Context, head string, p *Passed) error {
	s, err := j.clients[head].Owner(ctx)
	p.Owner, p.Epoch = s.Owner, s.Epoch
	if err == nil && s.Owner != head {
		err = fmt.Errorf("%s owns the cluster, not %s", s.Owner, head)
	}
	return err
}

// serves waits until the database runs on a head.
func (j *Journey) serves(ctx context.Context, head string) error {
	return await(ctx, syncWithin, "the database runs on "+head, func(ctx context.Context) error {
		s, err := j.clients[head].Owner(ctx)
		if err != nil {
			return err
		}
		for _, one := range s.Services {
			if one.State == "started" && one.Owner == head {
				return nil
			}
		}
		return fmt.Errorf("%s is in phase %s: %s; services %+v", head, s.Why.Phase, s.Why.Summary, s.Services)
	})
}

// inSync waits until both copies of the volume are up to date and see one another.
func (j *Journey) inSync(ctx context.Context) error {
	return await(ctx, syncWithin, "both copies are up to date", func(ctx context.Context) error {
		return InSync(ctx, j.clients[j.a])
	})
}

func (j *Journey) nothingLost(ctx context.Context, head string, p *Passed) error {
	acknowledged := j.writer.Acknowledged() // before it is looked
	lost, err := Database{j.Cluster}.Missing(ctx, j.clients[head], head, acknowledged)
	if p.Lost = len(lost); err == nil && len(lost) > 0 {
		err = fmt.Errorf("%d of %d acknowledged writes are lost, the first are %v", len(lost), len(acknowledged), lost[:min(len(lost), 10)])
	}
	return err
}

// alone is what of a lab's configuration a cluster of one head can be given: no other head, and nothing of the lab's own.
func alone(text string) (string, error) {
	var all map[string]any
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		return "", fmt.Errorf("the lab's configuration of the cluster: %w", err)
	}
	for key := range all {
		if !slices.Contains([]string{"name", "vips", "data", "services"}, key) {
			delete(all, key)
		}
	}
	out, err := yaml.Marshal(all)
	return string(out), err
}

// cables is how many serial cables a head has in a configuration of the cluster.
func cables(text, head string) (int, error) {
	var c struct {
		Heads map[string]struct {
			Serial []any `yaml:"serial"`
		} `yaml:"heads"`
	}
	err := yaml.Unmarshal([]byte(text), &c)
	return len(c.Heads[head].Serial), err
}
