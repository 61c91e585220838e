package heads

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"time"

	"masthead/node/witness"
	"masthead/vmtest/arena"
)

// The longest lease that any profile asks for, and its margin (appliance/failover.Normal): for so long a witness abstains
// after its start.
const (
	longest = 600 * time.Millisecond
	margin  = 50 * time.Millisecond

	portWitness = 7948
)

// vote is a worker's vote.
type vote struct {
	cancel context.CancelFunc
	done   chan error
}

// startVote runs one on a machine, with the part of the cluster's key that workers get (appliance/ownership.Key).
func startVote(m *arena.Machine, cluster string, key []byte) (*vote, error) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("masthead witness"))
	var server *witness.Server
	if err := m.In(func() (err error) {
		server, err = witness.New(witness.Config{
			Listen: netip.AddrPortFrom(netip.IPv4Unspecified(), portWitness), Cluster: cluster, Key: mac.Sum(nil),
			Longest: longest, Margin: margin,
		})
		return err
	}); err != nil {
		return nil, fmt.Errorf("witness %s: %w", m.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &vote{cancel, make(chan error, 1)}
	go func() { v.done <- server.Run(ctx) }()
	return v, nil
}

func (v *vote) close() error {
	v.cancel()
	return <-v.done
}
