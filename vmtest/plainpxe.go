package vmtest

import (
	"encoding/binary"
	"sync/atomic"
)

// disguise makes QEMU's boot ROM, which is iPXE, ask like the PXE client of an
// ordinary card, so that a head answers with its first loader (undionly.kpxe) and
// not with iPXE's script. There is no other PXE ROM to be had for QEMU's cards.
//
// It blanks what only iPXE says in its DHCP requests: the user class (option 77,
// RFC 3004) and iPXE's own options (175). It stops at the first TFTP request: from
// then on it is the loader that asks, and that one is to be known for what it is.
type disguise struct {
	dropped atomic.Bool
}

// reset puts the disguise on again, for the next start of the machine.
func (d *disguise) reset() { d.dropped.Store(false) }

// filter is an ethernet.Filter.
func (d *disguise) filter(frame []byte) []byte {
	if d.dropped.Load() {
		return frame
	}
	udp := udpIn(frame)
	if udp == nil {
		return frame
	}
	switch binary.BigEndian.Uint16(udp[2:]) {
	case 69: // TFTP
		d.dropped.Store(true)
	case 67, 4011: // DHCP, and PXE's boot server
		if blankIPXE(udp[8:]) {
			// No checksum (RFC 768); it would have to be made anew.
			udp[6], udp[7] = 0, 0
		}
	}
	return frame
}

// udpIn returns the UDP datagram of an IPv4 frame, nil for any other.
func udpIn(frame []byte) []byte {
	const ethernet, leastIP, leastUDP = 14, 20, 8
	if len(frame) < ethernet+leastIP || binary.BigEndian.Uint16(frame[12:]) != 0x0800 {
		return nil
	}
	ip := frame[ethernet:]
	header := int(ip[0]&0x0f) * 4
	fragment := binary.BigEndian.Uint16(ip[6:]) & 0x1fff
	if ip[0]>>4 != 4 || header < leastIP || ip[9] != 17 || fragment != 0 || len(ip) < header+leastUDP {
		return nil
	}
	return ip[header:]
}

// blankIPXE pads over the options that tell iPXE in a DHCP message, in place, if
// its user class is iPXE's.
func blankIPXE(message []byte) bool {
	const optionsAt = 240 // after the magic cookie
	const pad, userClass, ipxe, end = 0, 77, 175, 255
	if len(message) < optionsAt || binary.BigEndian.Uint32(message[optionsAt-4:]) != 0x63825363 {
		return false
	}
	var telling [][]byte
	isIPXE := false
	for rest := message[optionsAt:]; len(rest) > 1 && rest[0] != end; {
		if rest[0] == pad {
			rest = rest[1:]
			continue
		}
		length := 2 + int(rest[1])
		if length > len(rest) {
			return false // not a message to touch
		}
		option := rest[:length]
		switch option[0] {
		case userClass:
			isIPXE = isIPXE || string(option[2:]) == "iPXE"
			telling = append(telling, option)
		case ipxe:
			telling = append(telling, option)
		}
		rest = rest[length:]
	}
	if !isIPXE {
		return false
	}
	for _, option := range telling {
		clear(option)
	}
	return true
}
