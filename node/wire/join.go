package wire

import (
	"net/netip"
	"time"
)

// HeadProtocol is what heads speak among themselves, and OldestHeadProtocol the oldest that they still understand.
const (
	HeadProtocol       = 2 // 2: ownership, and what it keeps in the state
	OldestHeadProtocol = 2
)

// JoinRequest is what a head that wants to join says to one of the cluster. The token is its credential.
type JoinRequest struct {
	Token    string     `json:"token"`
	Name     string     `json:"name"`
	Address  netip.Addr `json:"address"` // on the cluster network
	HTTPS    uint16     `json:"https"`
	Gossip   uint16     `json:"gossip"`
	Version  string     `json:"version"`
	Protocol int        `json:"protocol"` // what it speaks
	Oldest   int        `json:"oldest"`   // the oldest that it understands
	Request  []byte     `json:"request"`  // certificate signing request (RFC 2986), DER
	Time     time.Time  `json:"time"`     // its clock
	DryRun   bool       `json:"dry_run,omitempty"`
}

// JoinAnswer is all that makes the machine a head of the cluster. It is secret.
type JoinAnswer struct {
	By      string            `json:"by"`      // the head that answers
	Cluster int               `json:"cluster"` // number of heads, with the new one
	Files   map[string][]byte `json:"files"`   // the cluster's keys, by the name of their file
	Records []byte            `json:"records"` // of the heads and of the gossip key, as heads send records
}

// JoinStart tells a head to join a cluster.
type JoinStart struct {
	Token   string `json:"token"`
	Address string `json:"address,omitempty"` // ADDRESS, ADDRESS:PORT or URL of a head; empty: those in the token
	Discard bool   `json:"discard,omitempty"` // give up the nodes and images that this head has of its own
	DryRun  bool   `json:"dry_run,omitempty"`
}

// Membership is how this machine stands to a cluster of heads, and how far a change of it is.
type Membership struct {
	Name   string    `json:"name"`
	State  string    `json:"state"`           // one of the Member… words
	Heads  []string  `json:"heads,omitempty"` // configured
	Step   string    `json:"step,omitempty"`  // what is done at the moment
	Done   int       `json:"done,omitempty"`  // of Total
	Total  int       `json:"total,omitempty"`
	Reason string    `json:"reason,omitempty"` // why it does not go on, or why this machine is no head any more
	Try    string    `json:"try,omitempty"`
	GiveUp []string  `json:"give_up,omitempty"` // what a join takes away from this head
	Export string    `json:"export,omitempty"`  // the file where that was saved
	Since  time.Time `json:"since,omitzero"`
}

// States of a Membership.
const (
	MemberSolo    = "solo"    // the only head of its cluster
	MemberHead    = "member"  // one of several
	MemberJoining = "joining" // has been accepted, does not have the whole state yet
	MemberLeaving = "leaving"
	MemberRemoved = "removed" // was ejected, and serves nothing
)

// HeadChange asks for a change of the set of heads.
type HeadChange struct {
	Force   bool   `json:"force,omitempty"`
	Confirm string `json:"confirm,omitempty"` // recover: name of the head that stays; leave, eject: of the one that goes
	Stolen  bool   `json:"stolen,omitempty"`  // eject: somebody may have the keys that it holds, so new ones are made
	DryRun  bool   `json:"dry_run,omitempty"`
}

// HeadChanged is what a change of the set of heads did, or would do.
type HeadChanged struct {
	Steps    []string `json:"steps"`
	Applied  bool     `json:"applied"`
	Degraded string   `json:"degraded,omitempty"` // why no other head has it yet
}
