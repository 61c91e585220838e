package heartbeat

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"masthead/appliance/failover"
)

// frame is one heartbeat. On the wire it has 77 bytes, big-endian, the same on UDP and on a serial line:
//
//	 0  1  version (4 bits), link: the sender's number of the link (4 bits)
//	 1  2  cluster: hash of its name
//	 3  1  from, to: ids of the heads (4 bits each)
//	 4  1  phase (4 bits), uplink (2 bits), unhealthy, leaving
//	 5  1  for + 1 (5 bits), data (3 bits)
//	 6  5  start: of the sender's daemon, in 10 ms since 1970
//	11  4  seq: counts on this link
//	15  2  revision: grows when what is said or heard changes
//	17  2  hears: on which of the sender's links it hears the receiver, by bits
//	19  4  echo: tag of the receiver's last frame that the sender has accepted; 0: none
//	23  8  boot id
//	31  4  cluster generation
//	35  5  epoch
//	40  3  acting     (each of the three: 0 is none, else how far it
//	43  3  released    is below epoch, plus 1)
//	46  3  yields
//	49  8  older: volumes, by bits
//	57  8  have: volumes, by bits
//	65  8  HMAC-SHA256 of all before, its first 8 bytes; the first 4 of them are the frame's tag
//	73  4  CRC-32 (IEEE) of all before
type frame struct {
	Link     int
	From, To int
	Start    uint64
	Seq      uint32
	Revision uint16
	Hears    uint16
	Echo     uint32
	Said     failover.Said
}

const (
	version   = 2
	frameSize = 77
	macAt     = 65
	crcAt     = 73

	maxStart = 1<<40 - 1
	maxEpoch = 1<<40 - 1
	maxBack  = 1<<24 - 1
)

var (
	// errGarbled is a frame that the line has damaged, or that is none.
	errGarbled = errors.New("garbled")
	// errForged is a whole frame of somebody who does not have this cluster's key, or that is meant for somebody else.
	errForged = errors.New("forged")
)

// seal makes and checks frames of one cluster.
type seal struct {
	key     []byte
	cluster uint16
}

// newSeal derives the key from the cluster's name too: two clusters that were given one key do not hear one another. The
// two bytes of hash in the frame only save the work.
func newSeal(cluster string, key []byte) seal {
	sum := sha256.Sum256([]byte(cluster))
	m := hmac.New(sha256.New, key)
	m.Write([]byte("masthead heartbeat\x00" + cluster))
	return seal{key: m.Sum(nil), cluster: binary.BigEndian.Uint16(sum[:])}
}

// encode gives the bytes of f and its tag.
func (s seal) encode(f frame) (b [frameSize]byte, tag uint32) {
	said := f.Said
	epoch := min(max(said.Epoch, said.Acting), maxEpoch)
	b[0] = version<<4 | byte(f.Link&15)
	binary.BigEndian.PutUint16(b[1:], s.cluster)
	b[3] = byte(f.From&15)<<4 | byte(f.To&15)
	b[4] = byte(said.Phase&15)<<4 | byte(said.Uplink&3)<<2 | bit(said.Unhealthy)<<1 | bit(said.Leaving)
	b[5] = byte((said.For+1)&31)<<3 | byte(said.Data&7)
	putUint(b[6:11], min(f.Start, maxStart))
	binary.BigEndian.PutUint32(b[11:], f.Seq)
	binary.BigEndian.PutUint16(b[15:], f.Revision)
	binary.BigEndian.PutUint16(b[17:], f.Hears)
	binary.BigEndian.PutUint32(b[19:], f.Echo)
	binary.BigEndian.PutUint64(b[23:], said.BootID)
	binary.BigEndian.PutUint32(b[31:], uint32(min(said.Gen, 1<<32-1)))
	putUint(b[35:40], uint64(epoch))
	putUint(b[40:43], acting(epoch, said.Acting))
	putUint(b[43:46], back(epoch, said.Released))
	putUint(b[46:49], back(epoch, said.Yields))
	binary.BigEndian.PutUint64(b[49:], uint64(said.Older))
	binary.BigEndian.PutUint64(b[57:], uint64(said.Have))
	copy(b[macAt:crcAt], s.mac(b[:macAt]))
	binary.BigEndian.PutUint32(b[crcAt:], crc32.ChecksumIEEE(b[:crcAt]))
	return b, tagOf(b[:])
}

// decode reads a frame. The error is errGarbled or errForged.
func (s seal) decode(b []byte) (f frame, tag uint32, err error) {
	if len(b) != frameSize || binary.BigEndian.Uint32(b[crcAt:]) != crc32.ChecksumIEEE(b[:crcAt]) || b[0]>>4 != version {
		return frame{}, 0, errGarbled
	}
	if binary.BigEndian.Uint16(b[1:]) != s.cluster || !hmac.Equal(b[macAt:crcAt], s.mac(b[:macAt])) {
		return frame{}, 0, errForged
	}
	epoch := failover.Epoch(uintOf(b[35:40]))
	f = frame{
		Link:     int(b[0] & 15),
		From:     int(b[3] >> 4),
		To:       int(b[3] & 15),
		Start:    uintOf(b[6:11]),
		Seq:      binary.BigEndian.Uint32(b[11:]),
		Revision: binary.BigEndian.Uint16(b[15:]),
		Hears:    binary.BigEndian.Uint16(b[17:]),
		Echo:     binary.BigEndian.Uint32(b[19:]),
		Said: failover.Said{
			BootID:    binary.BigEndian.Uint64(b[23:]),
			Gen:       uint64(binary.BigEndian.Uint32(b[31:])),
			Epoch:     epoch,
			Phase:     failover.Phase(b[4] >> 4),
			Acting:    ahead(epoch, uintOf(b[40:43])),
			Released:  ahead(epoch, uintOf(b[43:46])),
			Yields:    ahead(epoch, uintOf(b[46:49])),
			For:       int(b[5]>>3) - 1,
			Data:      failover.Data(b[5] & 7),
			Older:     failover.Volumes(binary.BigEndian.Uint64(b[49:])),
			Have:      failover.Volumes(binary.BigEndian.Uint64(b[57:])),
			Uplink:    failover.Reading(b[4] >> 2 & 3),
			Unhealthy: b[4]&2 != 0,
			Leaving:   b[4]&1 != 0,
		},
	}
	return f, tagOf(b), nil
}

func (s seal) mac(b []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write(b)
	return m.Sum(nil)[:crcAt-macAt]
}

// tagOf is what an echo names a frame by. 0 is the echo of nothing, so no frame is called that.
func tagOf(b []byte) uint32 { return max(binary.BigEndian.Uint32(b[macAt:]), 1) }

// back is how far e is below epoch, plus 1. What a head gave up or agreed to more than a million terms ago, or above the
// highest epoch that it knows, is of no use to anybody: it is not said.
func back(epoch, e failover.Epoch) uint64 {
	if e == 0 || e > epoch || epoch-e >= maxBack {
		return 0
	}
	return uint64(epoch-e) + 1
}

// acting is back for the epoch under which the head acts. That it acts is never left out: under an epoch too far below, it
// is said to act under the lowest that can be said.
func acting(epoch, e failover.Epoch) uint64 {
	if e == 0 {
		return 0
	}
	return min(uint64(epoch-min(e, epoch))+1, maxBack)
}

func ahead(epoch failover.Epoch, back uint64) failover.Epoch {
	if back == 0 || failover.Epoch(back) > epoch+1 {
		return 0
	}
	return epoch + 1 - failover.Epoch(back)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// putUint and uintOf are for the widths that encoding/binary does not have.
func putUint(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
}

func uintOf(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}
