package ethernet

import (
	"encoding/binary"
	"time"
)

// The blocks of a pcapng file, draft-ietf-opsawg-pcapng: section header (4.1),
// interface description (4.2) and enhanced packet (4.3), in little-endian.
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 6

	linkEthernet = 1

	optionEnd       = 0
	optionName      = 2 // if_name
	optionTimeUnit  = 9 // if_tsresol
	optionFlags     = 2 // epb_flags
	nanosecondsUnit = 9 // 10^-9 s
)

// way is the direction of a packet in its epb_flags, seen from the device.
type way uint32

const (
	unknownWay way = iota
	inbound
	outbound
)

var little = binary.LittleEndian

func appendSectionHeader(b []byte) []byte {
	return appendBlock(b, blockSection, func(b []byte) []byte {
		b = little.AppendUint32(b, 0x1A2B3C4D) // byte order
		b = little.AppendUint16(b, 1)          // version 1.0
		b = little.AppendUint16(b, 0)
		return little.AppendUint64(b, ^uint64(0)) // length not known
	})
}

func appendInterface(b []byte, name string) []byte {
	return appendBlock(b, blockInterface, func(b []byte) []byte {
		b = little.AppendUint16(b, linkEthernet)
		b = little.AppendUint16(b, 0)
		b = little.AppendUint32(b, 0) // no snap length
		b = appendOption(b, optionName, []byte(name))
		b = appendOption(b, optionTimeUnit, []byte{nanosecondsUnit})
		return appendOption(b, optionEnd, nil)
	})
}

func appendPacket(b []byte, port uint32, at time.Time, frame []byte, w way) []byte {
	return appendBlock(b, blockPacket, func(b []byte) []byte {
		b = little.AppendUint32(b, port)
		nanoseconds := uint64(at.UnixNano())
		b = little.AppendUint32(b, uint32(nanoseconds>>32))
		b = little.AppendUint32(b, uint32(nanoseconds))
		b = little.AppendUint32(b, uint32(len(frame))) // captured
		b = little.AppendUint32(b, uint32(len(frame))) // on the wire
		b = appendPadded(b, frame)
		if w == unknownWay {
			return b
		}
		b = appendOption(b, optionFlags, little.AppendUint32(nil, uint32(w)))
		return appendOption(b, optionEnd, nil)
	})
}

// appendBlock puts the total length before and after the body.
func appendBlock(b []byte, kind uint32, body func([]byte) []byte) []byte {
	start := len(b)
	b = little.AppendUint32(b, kind)
	b = little.AppendUint32(b, 0)
	b = body(b)
	total := uint32(len(b) - start + 4)
	little.PutUint32(b[start+4:], total)
	return little.AppendUint32(b, total)
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	b = little.AppendUint16(b, code)
	b = little.AppendUint16(b, uint16(len(value)))
	return appendPadded(b, value)
}

// appendPadded pads to 32 bits, from the start of the value: all before it is whole words.
func appendPadded(b, value []byte) []byte {
	b = append(b, value...)
	for range -len(value) & 3 {
		b = append(b, 0)
	}
	return b
}
