package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Generic netlink commands and attributes (linux/nbd-netlink.h).
const (
	genlFamily  = "nbd"
	genlVersion = 1

	genlConnect     = 1
	genlDisconnect  = 2
	genlReconfigure = 3

	attrIndex       = 1
	attrSize        = 2
	attrBlockSize   = 3
	attrTimeout     = 4
	attrServerFlags = 5
	attrSockets     = 7
	attrDeadConn    = 8

	sockItem = 1
	sockFD   = 1

	flagHasFlags = 1 << 0 // linux/nbd.h
	flagReadOnly = 1 << 1
)

// BlockSize is the logical block size of a device, that of the EROFS images on it.
const BlockSize = 4096

// DeadConnTimeout is how long reads wait for a new socket when the process that served the old one has died. Whoever
// starts another process does that within seconds; after this the reads fail, so that a machine that lost its root
// for good can say so.
const DeadConnTimeout = 10 * time.Minute

// Device is a kernel block device, by number: 0 is /dev/nbd0.
type Device int

// ParseDevice reads "/dev/nbd0" or "nbd0".
func ParseDevice(s string) (Device, error) {
	digits, ok := strings.CutPrefix(strings.TrimPrefix(s, "/dev/"), "nbd")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is not a network block device", s)
	}
	return Device(n), nil
}

// Name is the kernel's name, as in /sys/block.
func (d Device) Name() string { return "nbd" + strconv.Itoa(int(d)) }

// Path is the device node.
func (d Device) Path() string { return "/dev/" + d.Name() }

// Connect gives an unused device a size in bytes and one socket, the kernel's end of a pair, which the caller closes
// afterwards. The other end must be served already: the device is read for partitions as soon as somebody opens it.
//
// There is one socket on purpose. When a request is older than the queue's timeout, nbd_xmit_timeout (drivers/block/
// nbd.c, the same in Linux 6.1 and 6.12) gives up the socket it went to if the device has several, even with a timeout
// of 0, until none is left and all reads fail. Only with one socket and a timeout of 0 does the kernel write a line
// ("Possible stuck request") and wait on, which is what a machine needs whose head is away. One socket carries over
// 1 GB/s, more than chunks are decoded at.
//
// It is netlink and not ioctl because only netlink sets DeadConnTimeout, and because NBD_DO_IT would need a thread in
// the kernel for ever.
func Connect(fd int, size int64) (Device, error) {
	answer, err := send(genlConnect, unix.NLM_F_ACK,
		u64(attrSize, uint64(size)),
		u64(attrBlockSize, BlockSize),
		u64(attrTimeout, 0),
		u64(attrServerFlags, flagHasFlags|flagReadOnly),
		u64(attrDeadConn, uint64(DeadConnTimeout/time.Second)),
		sockets(fd))
	if err != nil {
		return 0, fmt.Errorf("attach a network block device of %d bytes: %w", size, err)
	}
	d, err := parseIndex(answer)
	if err != nil {
		return 0, fmt.Errorf("attach a network block device: %w", err)
	}
	return d, nil
}

// Reconnect gives the device a new socket for the one that died with its process. Reads that wait for a socket go on
// at once; those that were in the dead process's hands follow when the queue's timeout comes round (see Tune). If the
// old socket is alive the kernel ignores the new one without a word.
func (d Device) Reconnect(fd int) error {
	_, err := send(genlReconfigure, unix.NLM_F_ACK, u32(attrIndex, uint32(d)), sockets(fd))
	if err != nil {
		return fmt.Errorf("reconnect %s: %w", d.Path(), err)
	}
	return nil
}

// Disconnect detaches the device. Reads under way and all later ones fail. It blocks until the kernel is done with
// the socket.
func (d Device) Disconnect() error {
	if _, err := send(genlDisconnect, unix.NLM_F_ACK, u32(attrIndex, uint32(d))); err != nil {
		return fmt.Errorf("detach %s: %w", d.Path(), err)
	}
	return nil
}

// send sends one message to the kernel's nbd and returns its answers.
func send(command uint8, flags int, attrs ...*nl.RtAttr) ([][]byte, error) {
	family, err := netlink.GenlFamilyGet(genlFamily)
	if errors.Is(err, syscall.ENOENT) {
		return nil, errors.New("the kernel has no nbd; load the module nbd")
	}
	if err != nil {
		return nil, fmt.Errorf("netlink family %s: %w", genlFamily, err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), flags)
	req.AddData(&nl.Genlmsg{Command: command, Version: genlVersion})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req.Execute(unix.NETLINK_GENERIC, 0)
}

func u32(kind int, v uint32) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.NativeEndian.AppendUint32(nil, v))
}

func u64(kind int, v uint64) *nl.RtAttr {
	return nl.NewRtAttr(kind, binary.NativeEndian.AppendUint64(nil, v))
}

// sockets nests one descriptor: SOCKETS { SOCK_ITEM { SOCK_FD } }.
func sockets(fd int) *nl.RtAttr {
	all := nl.NewRtAttr(attrSockets|unix.NLA_F_NESTED, nil)
	all.AddRtAttr(sockItem|unix.NLA_F_NESTED, nil).AddRtAttr(sockFD, binary.NativeEndian.AppendUint32(nil, uint32(fd)))
	return all
}

// parseIndex finds the device's number in the answer to a connect.
func parseIndex(answer [][]byte) (Device, error) {
	for _, m := range answer {
		if len(m) < nl.SizeofGenlmsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return 0, fmt.Errorf("answer of the kernel: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == attrIndex && len(a.Value) >= 4 {
				return Device(binary.NativeEndian.Uint32(a.Value)), nil
			}
		}
	}
	return 0, errors.New("the kernel did not say which device")
}
