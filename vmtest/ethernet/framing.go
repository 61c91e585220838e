package ethernet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// prefixLen is the big-endian length before each frame of a QEMU stream
	// socket (QEMU net/stream.c, net_stream_receive).
	prefixLen = 4

	// MaxFrame is the longest frame QEMU sends or takes: NET_BUFSIZE in its
	// include/net/net.h.
	MaxFrame = 4096 + 65536
)

// errFraming is a length that no QEMU sends: what follows cannot be told apart
// any more, and the connection is of no further use.
var errFraming = errors.New("impossible frame length")

// cutFrame takes the first frame off stream. A frame that is not complete yet is
// nil, with rest the whole stream.
func cutFrame(stream []byte) (frame, rest []byte, err error) {
	if len(stream) < prefixLen {
		return nil, stream, nil
	}
	n := binary.BigEndian.Uint32(stream)
	if n > MaxFrame {
		return nil, stream, fmt.Errorf("%w: %d bytes, the most is %d", errFraming, n, MaxFrame)
	}
	end := prefixLen + int(n)
	if len(stream) < end {
		return nil, stream, nil
	}
	return stream[prefixLen:end:end], stream[end:], nil
}
