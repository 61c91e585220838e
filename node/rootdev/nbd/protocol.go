// Package nbd joins a kernel network block device to a Backend in the same process: the transmission phase of the NBD
// protocol over a socket pair, and the netlink messages by which the kernel takes a socket, takes another one for it,
// and lets go. There is no handshake, no export name and no network: both ends are on this machine.
package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes and magic numbers of the transmission phase (NBD doc/proto.md, "Simple reply message"; linux/nbd.h).
const (
	requestSize  = 28
	replySize    = 16
	requestMagic = 0x25609513
	replyMagic   = 0x67446698

	// maxLength bounds what one request may ask for: the kernel allows itself 65,536 sectors (nbd.c,
	// blk_queue_max_hw_sectors).
	maxLength = 32 << 20
)

type command uint16

const (
	cmdRead       command = 0
	cmdWrite      command = 1
	cmdDisconnect command = 2
	cmdFlush      command = 3
	cmdTrim       command = 4
)

// Errors of replies (proto.md, "Error values"); the kernel makes EIO of each.
const (
	errNone    = 0
	errPerm    = 1
	errIO      = 5
	errInvalid = 22
)

// request is one request of the kernel.
type request struct {
	command command
	flags   uint16
	handle  uint64
	offset  uint64
	length  uint32
}

// errProtocol means that the stream cannot be followed any further.
var errProtocol = errors.New("nbd: not a request of the kernel")

// parseRequest reads a header of requestSize bytes. It checks what decides where the next header begins, and nothing
// else: a request that makes no sense in itself gets an error as its reply.
func parseRequest(h []byte) (request, error) {
	if len(h) != requestSize {
		return request{}, fmt.Errorf("%w: %d bytes", errProtocol, len(h))
	}
	if magic := binary.BigEndian.Uint32(h); magic != requestMagic {
		return request{}, fmt.Errorf("%w: magic %#x", errProtocol, magic)
	}
	r := request{
		flags:   binary.BigEndian.Uint16(h[4:]),
		command: command(binary.BigEndian.Uint16(h[6:])),
		handle:  binary.BigEndian.Uint64(h[8:]),
		offset:  binary.BigEndian.Uint64(h[16:]),
		length:  binary.BigEndian.Uint32(h[24:]),
	}
	if r.command == cmdWrite && r.length > maxLength {
		return request{}, fmt.Errorf("%w: a write of %d bytes", errProtocol, r.length)
	}
	return r, nil
}

// refusal is the error that a request gets without asking the backend, or errNone.
func (r request) refusal(size int64) uint32 {
	switch r.command {
	case cmdRead:
		if r.length > maxLength || r.offset > uint64(size) || uint64(r.length) > uint64(size)-r.offset {
			return errInvalid
		}
		return errNone
	case cmdFlush:
		return errNone // nothing is ever dirty
	case cmdWrite, cmdTrim:
		return errPerm
	}
	return errInvalid
}

// appendReply appends the header of a reply.
func appendReply(b []byte, handle uint64, code uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, replyMagic)
	b = binary.BigEndian.AppendUint32(b, code)
	return binary.BigEndian.AppendUint64(b, handle)
}
