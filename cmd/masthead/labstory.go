package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest/cluster"
)

// Times of the story, on a host that may emulate all processors.
const (
	storyBegin = 3 * time.Minute // until the client has written
	storyTaken = 3 * time.Minute // until the other head has taken over
	storyWhole = 8 * time.Minute // until the old owner is back
	storyShell = 2 * time.Minute // a command on a worker
	// storyAttached is until the workers have found the other head.
	storyAttached = 3 * time.Minute
	storyAfter    = 5 * time.Second // of writing, to the new owner
)

// story is a takeover, told as it happens: the owner's plug is pulled while a client writes through the virtual address.
type story struct {
	a       *app
	c       *cluster.Cluster
	t       *cluster.Takeover
	workers []string
}

// untouched is what must be the same on a worker before and after.
type untouched struct{ boot, sum string }

// takeoverStory tells it, and gives a client of the head that owns the cluster in the end.
func (a *app) takeoverStory(ctx context.Context, c *cluster.Cluster) (head *wire.Client, err error) {
	s := &story{a: a, c: c, workers: c.Starting(images.RoleWorker)}
	if len(s.workers) == 0 {
		return nil, &hint{errors.New("nobody writes: the lab has no worker"), "see vmtest/demo.yaml"}
	}
	if s.t, err = watched(ctx, c); err != nil {
		return nil, err
	}
	head, err = s.tell(ctx)
	return head, errors.Join(err, s.t.Close())
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.a.out, format+"\n", args...) }

func (s *story) tell(ctx context.Context) (*wire.Client, error) {
	owner, _, _, err := s.t.Whole(ctx)
	if err != nil {
		return nil, err
	}
	standby := s.t.Other(owner)
	next := s.t.Client(standby)
	before, err := s.t.Client(owner).Owner(ctx)
	if err != nil {
		return nil, err
	}
	s.say("%s owns the cluster, epoch %s, and answers for %s; %s is standby", owner, before.Epoch, s.t.VIP, standby)
	workers, err := s.lookAtWorkers(ctx, next)
	if err != nil {
		return nil, err
	}
	writer := s.workers[0]
	if err := s.startClient(ctx, next, writer); err != nil {
		return nil, err
	}
	s.say("a client on %s writes through %s", writer, s.t.VIP)

	from := s.t.Record.Now()
	if err := s.c.PowerCut(owner); err != nil {
		return nil, err
	}
	s.say("pulled the plug of %s", owner)
	if err := s.t.AwaitTaken(ctx, standby, storyTaken); err != nil {
		return nil, err
	}
	gap, double := s.t.Silence(from)
	now, err := next.Owner(ctx)
	if err != nil {
		return nil, err
	}
	s.say("%s owns the cluster, epoch %s, after %d ms without an answer: %s", standby, now.Epoch, gap.Milliseconds(), now.Reason)
	if double > 0 {
		return nil, fmt.Errorf("both heads answered for %s", s.t.VIP)
	}
	if now.EpochNumber <= before.EpochNumber {
		return nil, fmt.Errorf("the epoch did not rise: %s, %s", before.Epoch, now.Epoch)
	}
	if err := s.pause(ctx, storyAfter); err != nil {
		return nil, err
	}
	after, err := s.lookAtWorkers(ctx, next)
	if err != nil {
		return nil, err
	}
	if !maps.Equal(workers, after) {
		return nil, fmt.Errorf("the workers were touched: %v, now %v", workers, after)
	}
	s.say("the workers %s run on in the same boots, and read the same from their roots", strings.Join(s.workers, ", "))

	if err := s.c.PowerOn(ctx, owner); err != nil {
		return nil, err
	}
	s.say("switched %s on again", owner)
	last, _, refenced, err := s.t.Whole(ctx)
	if err != nil {
		return nil, err
	}
	if refenced > 0 {
		s.say("%s stood still while it started, was taken for dead, switched off by %s, and switched on once more (%d times)", owner, standby, refenced)
	}
	if last != standby {
		return nil, fmt.Errorf("%s took the cluster back, unasked", last)
	}
	s.say("%s is back, as standby of %s", owner, standby)
	return next, s.checkWrites(ctx, standby, owner, writer)
}

// readFiles reads files of a root from where it comes from, and sums them up. An earlier try, whose answer was lost, may still
// be at it.
const readFiles = "echo 3 > /proc/sys/vm/drop_caches; f=/run/lab-files.$$; cat /bin/[a-d]* > $f; sha256sum < $f; rm $f"

// lookAtWorkers reads from the roots of the workers, and gives what must not change. A worker that was attached to a head
// that died looks for another one first.
func (s *story) lookAtWorkers(ctx context.Context, head *wire.Client) (map[string]untouched, error) {
	all := map[string]untouched{}
	for _, name := range s.workers {
		var sum string
		err := s.insist(ctx, storyAttached, func() (err error) {
			sum, err = cluster.Shell(ctx, head, name, readFiles, nil, storyShell)
			return err
		})
		if err != nil {
			return nil, err
		}
		all[name] = untouched{cluster.LastBoot(ctx, head, name), strings.TrimSpace(sum)}
	}
	return all, nil
}

// Files of the client on the worker.
const (
	clientToken = "/run/lab-token"
	clientLog   = "/run/lab-client.log"
)

// startClient starts the client on a worker, where it goes on without a head, and waits for its first writes.
func (s *story) startClient(ctx context.Context, head *wire.Client, worker string) error {
	if _, err := cluster.Shell(ctx, head, worker, "umask 077; cat > "+clientToken, strings.NewReader(s.c.Token), storyShell); err != nil {
		return err
	}
	status, err := head.Status(ctx)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%s --head https://%s --ca %s --token-file %s lab client %s > %s 2>&1 < /dev/null &",
		images.RunBinary, s.t.VIP, status.CA, clientToken, worker, clientLog)
	if _, err := cluster.Shell(ctx, head, worker, line, nil, storyShell); err != nil {
		return err
	}
	until := time.Now().Add(storyBegin)
	for {
		text, err := cluster.Shell(ctx, head, worker, "cat "+clientLog, nil, storyShell)
		if w, e := parseWrites(text); err == nil && e == nil && w.acknowledged >= 10 {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return fmt.Errorf("the client on %s does not write: %s, %v", worker, text, err)
		}
		if err := s.pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// checkWrites ends the client, and looks on both heads for what was acknowledged, once they have the same state again.
func (s *story) checkWrites(ctx context.Context, owner, standby, worker string) error {
	head := s.t.Client(owner)
	text, err := cluster.Shell(ctx, head, worker, "ps ax | grep 'lab clien[t]' | while read pid rest; do kill $pid; done; cat "+clientLog+"; rm "+clientLog+" "+clientToken, nil, storyShell)
	if err != nil {
		return err
	}
	w, err := parseWrites(text)
	if err != nil {
		return err
	}
	s.say("%d writes were acknowledged, %d were not; the longest pause between two was %.1f s", w.acknowledged, w.lost, w.gap.Seconds())
	equal, cancel := context.WithTimeout(ctx, storyWhole)
	defer cancel()
	if err := s.c.AwaitMember(equal, head, standby); err != nil {
		return err
	}
	for _, name := range []string{owner, standby} {
		var node wire.Node
		err := s.insist(ctx, storyWhole, func() (err error) {
			node, err = s.t.Client(name).Node(ctx, worker)
			return err
		})
		if err != nil {
			return err
		}
		if missing := w.missing(node.Attrs); len(missing) > 0 {
			return fmt.Errorf("acknowledged writes are not on %s: %s", name, strings.Join(missing, ", "))
		}
	}
	s.say("every acknowledged write can be read on both heads")
	none := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(w.may)) {
		none[key] = ""
	}
	_, err = head.ChangeNode(ctx, worker, wire.NodeChange{Attrs: none})
	return err
}

// insist asks until there is an answer, for limit at most: a head that has just started, or a worker whose head died, may
// let a question run out of time while it is busy with itself.
func (s *story) insist(ctx context.Context, limit time.Duration, ask func() error) error {
	until := time.Now().Add(limit)
	for {
		err := ask()
		if err == nil || time.Now().After(until) {
			return err
		}
		if err := s.pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (s *story) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
