package ntp

import (
	"encoding/binary"
	"time"
)

// Size is that of a packet without extensions (RFC 5905, 7.3), the only ones that we send.
const Size = 48

// The modes of packets (RFC 5905, figure 10). Others are between servers, or tell and change settings of daemons, and
// have been used to flood strangers.
const (
	modeClient = 3
	modeServer = 4
)

// Leap says whether the last minute of the day has another length (RFC 5905, figure 9).
type Leap uint8

const (
	LeapNone   Leap = 0
	LeapInsert Leap = 1
	LeapDelete Leap = 2
)

// Status is how good this machine's clock is.
type Status struct {
	Leap       Leap
	Stratum    uint8
	Precision  int8 // of reading it, log2 of seconds
	Dispersion time.Duration
	Reference  [4]byte   // whom it follows
	Set        time.Time // when it was last known to be right
}

// Answer makes the answer to a packet that came at received and is answered at sent; ok is false if none is due. The
// answer is never longer than the packet.
func Answer(packet []byte, s Status, received, sent time.Time) (answer [Size]byte, ok bool) {
	if len(packet) < Size {
		return answer, false
	}
	version := packet[0] >> 3 & 7
	if packet[0]&7 != modeClient || version < 1 || version > 4 {
		return answer, false
	}
	answer[0] = byte(s.Leap)<<6 | version<<3 | modeServer
	answer[1] = s.Stratum
	answer[2] = packet[2] // the client's poll interval (RFC 4330, 5)
	answer[3] = byte(s.Precision)
	// Root delay (4 to 8) stays 0: what is known of the way to the source is in the dispersion.
	binary.BigEndian.PutUint32(answer[8:], short(s.Dispersion))
	copy(answer[12:16], s.Reference[:])
	binary.BigEndian.PutUint64(answer[16:], timestamp(s.Set))
	copy(answer[24:32], packet[40:48]) // its transmit time, by which it knows the answer for its own
	binary.BigEndian.PutUint64(answer[32:], timestamp(received))
	binary.BigEndian.PutUint64(answer[40:], timestamp(sent))
	return answer, true
}

// epoch is the beginning of NTP's time, in seconds before that of Unix (RFC 5905, figure 4). The 32 bits of seconds begin
// anew in 2036; clients know the era.
const epoch = 2208988800

// timestamp is a time in units of 2^-32 s.
func timestamp(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(uint32(t.Unix()+epoch))<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// short is a duration in units of 2^-16 s.
func short(d time.Duration) uint32 {
	const most = 1<<16*time.Second - 1
	return uint32(uint64(min(max(d, 0), most)) << 16 / uint64(time.Second))
}
