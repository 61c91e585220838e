// Package dns answers the cluster's questions for names.
//
// For the cluster's domain and the reverse zones of its networks it is authoritative: each head answers from the
// replicated state in its memory, so all give the same answer and none waits for anybody. Everything else goes to the
// resolvers of the head's own network, whose answers are kept as long as they say. Only machines of the cluster are
// served: a resolver that is open to all is a weapon (RFC 5358).
//
// The wire format is miekg/dns's. What is decided here is whose names are whose (zone.go), what an answer has
// (answer.go), and how the way out is kept bounded (forward.go, cache.go, limit.go). parent-head-node is another head for
// each node and so in no zone: it is in the nodes' /etc/hosts.
package dns
