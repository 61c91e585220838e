package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watch calls changed after each message of the kernel that matters, until ctx ends. Messages that were lost count.
func watch(ctx context.Context, family int, group uint32, matters func(netlink.Message) bool, changed func()) error {
	conn, err := netlink.Dial(family, nil)
	if err != nil {
		return fmt.Errorf("watch the kernel's changes: %w", err)
	}
	defer conn.Close()
	if err := conn.JoinGroup(group); err != nil {
		return fmt.Errorf("watch the kernel's changes: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	changed() // what happened before
	for {
		list, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			changed()
			continue
		case err != nil:
			return fmt.Errorf("watch the kernel's changes: %w", err)
		}
		for _, m := range list {
			if matters(m) {
				changed()
				break
			}
		}
	}
}

// gateMatters reports whether a message of nftables may be about a gate that is no longer whole. The open sets change all
// the time, by this process.
func gateMatters(m netlink.Message) bool {
	switch uint16(m.Header.Type) &^ (unix.NFNL_SUBSYS_NFTABLES << 8) {
	case unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELSET:
		return true
	case unix.NFT_MSG_DELSETELEM:
	default:
		return false
	}
	const header = 4 // struct nfgenmsg
	if len(m.Data) < header {
		return true
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return true
	}
	attributes.ByteOrder = binary.BigEndian
	for attributes.Next() {
		if attributes.Type() == unix.NFTA_SET_ELEM_LIST_SET {
			name := attributes.String()
			return name == setVIP4 || name == setVIP6
		}
	}
	return true
}
