package gossip

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"masthead/appliance/state"
)

// What heads ask of one another: the last part of a path below /peer/v1/state/. A body is what is said here.
const (
	callTime    = "time"    // digest → their readings of the clock, 8 bytes of nanoseconds each, and their digest
	callSummary = "summary" // nothing → digest
	callMids    = "mids"    // nothing → 64 hashes, cut to 8 bytes each, and the digest
	callLeaves  = "leaves"  // JSON list of mids → for each 64 hashes, cut to 8 bytes each
	callStamps  = "stamps"  // JSON list of leaves → number of leaves that the answer is of, and the stamps
	callRecords = "records" // JSON list of keys → number of keys that the answer is of, and a batch
	callPush    = "push"    // a batch → JSON pushed
	callApply   = "apply"   // JSON applyRequest → length of the ack, JSON of it, a batch
)

var errMessage = errors.New("damaged message")

// link is the way to other heads. It may be used by many at once.
type link interface {
	// send gives a head a digest, or loses it. It does not block.
	send(peer string, digest []byte)
	// call asks something of a head and waits for the answer, until ctx ends.
	call(ctx context.Context, peer, what string, body []byte) ([]byte, error)
	// run works until ctx ends.
	run(ctx context.Context) error
}

// pushed is what became of records that were sent.
type pushed struct {
	Taken   int `json:"taken"`
	Stale   int `json:"stale"`   // they had a later version
	Ignored int `json:"ignored"` // deleted and forgotten there
	Ahead   int `json:"ahead"`   // of a clock too far ahead of theirs
	// Lead is how far ahead, in seconds, and Head whose clock it is.
	Lead float64 `json:"lead,omitempty"`
	Head string  `json:"head,omitempty"`
}

type applyRequest struct {
	Origin state.Origin `json:"origin"`
	Ops    []state.Op   `json:"ops"`
}

// Numbers before what has no length of its own.

func withCount(n int, rest []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(n)), rest...)
}

// cutCount reads such a number, which is at most limit.
func cutCount(data []byte, limit int) (n int, rest []byte, err error) {
	if len(data) < 4 || uint64(binary.BigEndian.Uint32(data)) > uint64(limit) {
		return 0, nil, fmt.Errorf("%w: of %d bytes", errMessage, len(data))
	}
	return int(binary.BigEndian.Uint32(data)), data[4:], nil
}

// Stamps, each: length of the key, the key; epoch and HLC, 8 bytes each; length of the head's name, the name; the
// hash, cut. Lengths are single bytes, but for the key's, which has two.

func encodeStamps(stamps []state.Stamp) []byte {
	var out []byte
	for _, s := range stamps {
		key := s.Key.String()
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(key))), key...)
		out = binary.BigEndian.AppendUint64(out, s.Version.Epoch)
		out = binary.BigEndian.AppendUint64(out, uint64(s.Version.HLC))
		out = append(append(out, byte(len(s.Version.Head))), s.Version.Head...)
		out = append(out, short(s.Hash)...)
	}
	return out
}

func decodeStamps(data []byte) ([]state.Stamp, error) {
	var stamps []state.Stamp
	cut := func(n int) (b []byte, ok bool) {
		if len(data) < n {
			return nil, false
		}
		b, data = data[:n], data[n:]
		return b, true
	}
	for i := 1; len(data) > 0; i++ {
		fail := func() ([]state.Stamp, error) { return nil, fmt.Errorf("%w: stamp %d", errMessage, i) }
		b, ok := cut(2)
		if !ok {
			return fail()
		}
		if b, ok = cut(int(binary.BigEndian.Uint16(b))); !ok {
			return fail()
		}
		key, err := state.ParseKey(string(b))
		if err != nil {
			return nil, fmt.Errorf("%w: stamp %d: %w", errMessage, i, err)
		}
		s := state.Stamp{Key: key}
		if b, ok = cut(17); !ok {
			return fail()
		}
		s.Version.Epoch, s.Version.HLC = binary.BigEndian.Uint64(b), state.HLC(binary.BigEndian.Uint64(b[8:]))
		if b, ok = cut(int(b[16])); !ok {
			return fail()
		}
		s.Version.Head = string(b)
		if b, ok = cut(hashBytes); !ok {
			return fail()
		}
		copy(s.Hash[:], b)
		stamps = append(stamps, s)
	}
	return stamps, nil
}

func encodeHashes(hashes []state.Hash) []byte {
	out := make([]byte, 0, hashBytes*len(hashes))
	for _, h := range hashes {
		out = append(out, short(h)...)
	}
	return out
}

// differing gives the positions at which hashes are not those that another head sent.
func differing(ours []state.Hash, theirs []byte) ([]int, error) {
	if len(theirs) != hashBytes*len(ours) {
		return nil, fmt.Errorf("%w: %d bytes, want %d hashes", errMessage, len(theirs), len(ours))
	}
	var at []int
	for i, h := range ours {
		if string(short(h)) != string(theirs[i*hashBytes:(i+1)*hashBytes]) {
			at = append(at, i)
		}
	}
	return at, nil
}

func encodeTimes(t1, t2 time.Time, digest []byte) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(t1.UnixNano()))
	return append(binary.BigEndian.AppendUint64(out, uint64(t2.UnixNano())), digest...)
}

func decodeTimes(data []byte) (t1, t2 time.Time, digest []byte, err error) {
	if len(data) < 16 {
		return t1, t2, nil, fmt.Errorf("%w: %d bytes of times", errMessage, len(data))
	}
	nano := func(b []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(b))) }
	return nano(data), nano(data[8:]), data[16:], nil
}

func encodeJSON(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("gossip: encode %T: %w", v, err)
	}
	return data, nil
}

func decodeJSON[T any](data []byte) (T, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("%w: %w", errMessage, err)
	}
	return v, nil
}

// batches cuts records into what goes over the wire at once.
func batches(records []state.Record) [][]state.Record {
	var out [][]state.Record
	from, size := 0, 0
	for i, r := range records {
		n := len(r.Key.Name) + len(r.Value) + 128
		if i > from && (i-from == maxRecords || size+n > maxBytes) {
			out, from, size = append(out, records[from:i]), i, 0
		}
		size += n
	}
	if from < len(records) {
		out = append(out, records[from:])
	}
	return out
}
