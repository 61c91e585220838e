package wire

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"masthead/images"
)

// HeadRecord is one configured head, as the state keeps it under the head's name. Who is in no such record is no head:
// no other one talks to it.
type HeadRecord struct {
	Address netip.Addr `json:"address"` // on the cluster network
	HTTPS   uint16     `json:"https"`   // port of the API and of the other heads
	Gossip  uint16     `json:"gossip"`  // port of the membership protocol, TCP and UDP
	// Key is the SHA-256 of the public key (SubjectPublicKeyInfo) of the head's certificate. Another certificate of the
	// same authority is not this head.
	Key     images.Digest `json:"key"`
	Version string        `json:"version"`
	Joined  time.Time     `json:"joined"`
	// Number is 1 to 15, and no two configured heads have the same: terms of ownership are numbered by it.
	Number int `json:"number,omitempty"`
	// Software is what it runs since its last start.
	Software Software `json:"software,omitzero"`
}

// URL is the head's API as machines of the cluster reach it.
func (r HeadRecord) URL() string {
	if r.HTTPS == PortHTTPS || r.HTTPS == 0 {
		if r.Address.Is6() {
			return "https://[" + r.Address.String() + "]"
		}
		return "https://" + r.Address.String()
	}
	return "https://" + net.JoinHostPort(r.Address.String(), strconv.Itoa(int(r.HTTPS)))
}

// HeadStatus is one configured head as the head that answers sees it.
type HeadStatus struct {
	Name string `json:"name"`
	HeadRecord
	Self   bool      `json:"self,omitempty"`
	Alive  bool      `json:"alive"`
	Seen   time.Time `json:"seen,omitzero"`    // last word from it
	Root   string    `json:"root,omitempty"`   // hash of its whole state, as it last said
	Equal  bool      `json:"equal"`            // its state was ours at the last comparison
	Skew   float64   `json:"skew,omitempty"`   // seconds that its clock is ahead of ours
	Nodes  int       `json:"nodes,omitempty"`  // that report to it
	Reason string    `json:"reason,omitempty"` // what is wrong with it or with the way to it
}
