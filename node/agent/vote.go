package agent

import (
	"context"
	"net/netip"
	"reflect"

	"masthead/node/wire"
	"masthead/node/witness"
)

// vote is this machine's part in deciding who owns the cluster: it is asked for leases, and needs no head for that.
type vote struct {
	terms wire.Vote
	end   context.CancelFunc
	done  chan struct{}
}

// votes makes this machine a witness on these terms, or ends that it is one. It is called by the goroutine that reads the
// command channel.
func (a *Agent) votes(terms *wire.Vote) {
	switch {
	case terms == nil:
		a.endVote()
		return
	case a.voting != nil && reflect.DeepEqual(a.voting.terms, *terms):
		return
	}
	a.endVote()
	server, err := witness.New(witness.Config{
		Listen: netip.AddrPortFrom(netip.IPv6Unspecified(), witness.Port), Cluster: terms.Cluster, Key: terms.Key,
		Longest: terms.Longest, Margin: terms.Margin, Log: a.log,
	})
	if err != nil {
		a.log.Error("this machine is to be a witness, and cannot", "err", err)
		return
	}
	ctx, end := context.WithCancel(a.life)
	v := &vote{terms: *terms, end: end, done: make(chan struct{})}
	a.voting = v
	a.log.Info("this machine is a witness of who owns the cluster", "port", witness.Port)
	a.runs.Go(func() {
		defer close(v.done)
		if err := server.Run(ctx); err != nil {
			a.log.Error("witness", "err", err)
		}
	})
}

func (a *Agent) endVote() {
	if a.voting == nil {
		return
	}
	a.voting.end()
	<-a.voting.done
	a.voting = nil
}
