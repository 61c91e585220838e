package ethernet

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
)

// MAC is an Ethernet address as a map key.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// group reports whether m is a multicast or the broadcast address (IEEE 802, I/G bit).
func (m MAC) group() bool { return m[0]&1 != 0 }

// headerLen is two addresses and the type: the shortest frame worth forwarding.
// Padding to 60 bytes is the wire's business, and virtio has no wire.
const headerLen = 14

// frame is one Ethernet frame in a pooled buffer, preceded by its length as the
// stream framing wants it, so that sending it on is one copy. It is never changed
// once it is in the switch: a flooded frame waits in many queues at once.
type frame struct {
	refs atomic.Int32
	pool *sync.Pool
	wire []byte // 4 bytes of length, then the frame
}

// Two sizes keep the usual case small: 1500 bytes of payload with a VLAN tag fit
// in 2 KiB, anything longer gets the largest there is.
const smallFrame = 2048 - prefixLen

var (
	smallFrames = sync.Pool{New: func() any { return &frame{wire: make([]byte, prefixLen+smallFrame)} }}
	largeFrames = sync.Pool{New: func() any { return &frame{wire: make([]byte, prefixLen+MaxFrame)} }}
)

// newFrame copies b, of at most MaxFrame bytes, into a buffer that release gives back.
func newFrame(b []byte) *frame {
	pool := &smallFrames
	if len(b) > smallFrame {
		pool = &largeFrames
	}
	f := pool.Get().(*frame)
	f.pool = pool
	f.refs.Store(1)
	f.wire = f.wire[:prefixLen+len(b)]
	binary.BigEndian.PutUint32(f.wire, uint32(len(b)))
	copy(f.wire[prefixLen:], b)
	return f
}

func (f *frame) data() []byte     { return f.wire[prefixLen:] }
func (f *frame) destination() MAC { return MAC(f.wire[prefixLen : prefixLen+6]) }
func (f *frame) source() MAC      { return MAC(f.wire[prefixLen+6 : prefixLen+12]) }

// keep adds an owner, who calls release as well.
func (f *frame) keep() *frame {
	f.refs.Add(1)
	return f
}

func (f *frame) release() {
	if f.refs.Add(-1) == 0 {
		f.pool.Put(f)
	}
}
