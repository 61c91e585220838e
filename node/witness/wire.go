package witness

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Both messages are of fixed length, in network byte order: four bytes that say what they are, the fields in the order in
// which they are written below, and the first 16 bytes of the HMAC-SHA256 of all that (RFC 2104, 5, allows the first half).
const (
	magicAsk    = "mwq1"
	magicAnswer = "mwr1"
	macLen      = 16
	factsLen    = 8 + 8 + 16
	// AskLen and AnswerLen are the lengths in bytes.
	AskLen    = 4 + 8 + 1 + 1 + 8 + 4 + 8 + 8 + 4 + factsLen + macLen
	AnswerLen = 4 + 8 + 8 + 1 + 1 + 8 + 1 + 4 + 4 + 1 + 8 + factsLen + macLen
)

// ErrForged is returned for what was not made with the cluster's key, or was damaged on the way.
var ErrForged = errors.New("wrong authentication code")

var order = binary.BigEndian

// Append appends the message to b.
func (a Ask) Append(b, key []byte) []byte {
	start := len(b)
	b = append(b, magicAsk...)
	b = order.AppendUint64(b, a.Cluster)
	b = append(b, byte(a.Kind), a.Holder)
	b = order.AppendUint64(b, a.Epoch)
	b = order.AppendUint32(b, micros(a.TTL))
	b = order.AppendUint64(b, a.Nonce)
	b = order.AppendUint64(b, a.Voter)
	b = order.AppendUint32(b, a.Roster)
	b = a.Facts.append(b)
	return append(b, mac(b[start:], key)...)
}

// ParseAsk reads what Ask.Append wrote.
func ParseAsk(b, key []byte) (Ask, error) {
	r, err := open(b, key, magicAsk, AskLen)
	if err != nil {
		return Ask{}, err
	}
	a := Ask{Cluster: r.u64(), Kind: Kind(r.u8()), Holder: r.u8(), Epoch: r.u64(), TTL: r.micros(), Nonce: r.u64(), Voter: r.u64(), Roster: r.u32(), Facts: r.facts()}
	return a, nil
}

// Append appends the message to b.
func (a Answer) Append(b, key []byte) []byte {
	start := len(b)
	b = append(b, magicAnswer...)
	b = order.AppendUint64(b, a.Nonce)
	b = order.AppendUint64(b, a.Boot)
	b = append(b, flag(a.Granted), byte(a.Reason))
	b = order.AppendUint64(b, a.Epoch)
	b = append(b, a.Holder)
	b = order.AppendUint32(b, micros(a.Left))
	b = order.AppendUint32(b, a.Roster)
	b = append(b, flag(a.Remembers))
	b = order.AppendUint64(b, a.Owned)
	b = a.Facts.append(b)
	return append(b, mac(b[start:], key)...)
}

// ParseAnswer reads what Answer.Append wrote.
func ParseAnswer(b, key []byte) (Answer, error) {
	r, err := open(b, key, magicAnswer, AnswerLen)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Nonce: r.u64(), Boot: r.u64(), Granted: r.flag(), Reason: Reason(r.u8()), Epoch: r.u64(), Holder: r.u8(), Left: r.micros(), Roster: r.u32(), Remembers: r.flag(), Owned: r.u64(), Facts: r.facts()}
	if r.bad {
		return Answer{}, errors.New("a flag is neither 0 nor 1")
	}
	return a, nil
}

// open checks what b is and who made it.
func open(b, key []byte, magic string, length int) (*reader, error) {
	if len(b) != length || string(b[:4]) != magic {
		return nil, fmt.Errorf("%d bytes are no %s message", len(b), magic)
	}
	body := b[:length-macLen]
	if !hmac.Equal(b[length-macLen:], mac(body, key)) {
		return nil, ErrForged
	}
	return &reader{rest: body[4:]}, nil
}

func mac(b, key []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)[:macLen]
}

func (f Facts) append(b []byte) []byte {
	b = order.AppendUint64(b, f.Gen)
	solo := int64(0) // for no time at all
	if !f.Solo.IsZero() {
		solo = f.Solo.UnixNano()
	}
	b = order.AppendUint64(b, uint64(solo))
	return append(b, f.DataUUID[:]...)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// micros rounds up: a lease that is said to end later than it does costs time, the other way round it costs an ask.
func micros(d time.Duration) uint32 {
	us := (d + time.Microsecond - 1) / time.Microsecond
	return uint32(min(max(us, 0), math.MaxUint32))
}

// reader takes fields off bytes whose number was checked before.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u8() uint8             { return r.take(1)[0] }
func (r *reader) u32() uint32           { return order.Uint32(r.take(4)) }
func (r *reader) u64() uint64           { return order.Uint64(r.take(8)) }
func (r *reader) micros() time.Duration { return time.Duration(r.u32()) * time.Microsecond }

func (r *reader) flag() bool {
	b := r.u8()
	r.bad = r.bad || b > 1
	return b == 1
}

func (r *reader) facts() (f Facts) {
	f.Gen = r.u64()
	if solo := int64(r.u64()); solo != 0 {
		f.Solo = time.Unix(0, solo).UTC()
	}
	copy(f.DataUUID[:], r.take(16))
	return f
}
