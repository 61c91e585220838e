package arbiter

import "encoding/binary"

// markLen is that of a mark on the wire: a letter, and the number.
const markLen = 1 + 8

// Letters of marks: what the leader says of a lease, and what a follower answers.
const (
	letterNone     = 'n' // no lease is asked for
	letterLease    = 'l'
	letterPromised = 'p'
)

// A mark travels in AppendEntriesRequest.Leader, which raft reads only from heads that do not send RPCHeader.Addr (raft.go,
// appendEntries); the promise in RPCHeader.Addr of the answer, which raft does not read.
func (m mark) append(b []byte) []byte {
	letter := byte(letterNone)
	if m.lease {
		letter = letterLease
	}
	return binary.BigEndian.AppendUint64(append(b, letter), m.seq)
}

func parseMark(b []byte) (m mark, ok bool) {
	if len(b) != markLen || b[0] != letterNone && b[0] != letterLease {
		return mark{}, false
	}
	return mark{seq: binary.BigEndian.Uint64(b[1:]), lease: b[0] == letterLease}, true
}

func promised(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{letterPromised}, seq)
}

func isPromised(b []byte, seq uint64) bool {
	return len(b) == markLen && b[0] == letterPromised && binary.BigEndian.Uint64(b[1:]) == seq
}
