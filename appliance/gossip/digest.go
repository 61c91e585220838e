package gossip

import (
	"encoding/binary"
	"errors"
	"fmt"

	"masthead/appliance/state"
)

// Digest is what a head says of its state each second. On the wire:
//
//	0   protocol
//	1   length of the head's name, then the name
//	…   length of the program's version, then the version
//	…   flags: 1 is complete
//	…   epoch, sequence, newest HLC, horizon, number of records: 8 bytes each, big endian
//	…   root, 32 bytes
//
// What stands before the flags is the same in all protocols, so that heads can say whose does not fit.
type Digest struct {
	Protocol uint8
	Head     string
	Version  string
	state.Summary
}

const (
	digestFixed    = 1 + 5*8 + 32
	flagComplete   = 1
	maxVersionText = 64
)

var (
	errDigest   = errors.New("damaged digest")
	errProtocol = errors.New("another protocol")
)

func (d Digest) encode() []byte {
	out := make([]byte, 0, 3+len(d.Head)+len(d.Version)+digestFixed)
	out = append(out, d.Protocol, byte(len(d.Head)))
	out = append(out, d.Head...)
	version := d.Version[:min(len(d.Version), maxVersionText)]
	out = append(out, byte(len(version)))
	out = append(out, version...)
	flags := byte(0)
	if d.Complete {
		flags = flagComplete
	}
	out = append(out, flags)
	for _, n := range []uint64{d.Epoch, d.Seq, uint64(d.Newest), uint64(d.Horizon), uint64(d.Records)} {
		out = binary.BigEndian.AppendUint64(out, n)
	}
	return append(out, d.Root[:]...)
}

// decodeDigest is the inverse of encode. With errProtocol the names are valid and nothing else.
func decodeDigest(data []byte) (Digest, error) {
	var d Digest
	fail := func() (Digest, error) { return Digest{}, fmt.Errorf("%w: %d bytes", errDigest, len(data)) }
	rest := data
	if len(rest) < 1 {
		return fail()
	}
	d.Protocol, rest = rest[0], rest[1:]
	for _, s := range []*string{&d.Head, &d.Version} {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return fail()
		}
		*s, rest = string(rest[1:1+rest[0]]), rest[1+rest[0]:]
	}
	if d.Protocol != Protocol {
		return d, errProtocol
	}
	if len(rest) != digestFixed || rest[0]&^flagComplete != 0 || len(d.Version) > maxVersionText {
		return fail()
	}
	d.Complete, rest = rest[0] == flagComplete, rest[1:]
	n := func(i int) uint64 { return binary.BigEndian.Uint64(rest[8*i:]) }
	d.Epoch, d.Seq, d.Newest, d.Horizon, d.Records = n(0), n(1), state.HLC(n(2)), state.HLC(n(3)), int(n(4))
	copy(d.Root[:], rest[5*8:])
	return d, nil
}

// protocolError is a head that speaks another protocol.
type protocolError struct {
	Head, Version       string
	Protocol            uint8
	OwnHead, OwnVersion string
}

func (e *protocolError) Error() string {
	return fmt.Sprintf("%s runs masthead %s (state protocol %d), %s runs masthead %s (state protocol %d): they exchange nothing",
		e.Head, e.Version, e.Protocol, e.OwnHead, e.OwnVersion, Protocol)
}

func (e *protocolError) Unwrap() error { return errProtocol }

// Try says what helps.
func (e *protocolError) Try() string { return "run the same version of masthead on both heads" }
