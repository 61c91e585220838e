package vip

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The rules, as `nft list ruleset` shows them on a head with a VIP on eth0. In words: what comes in for a VIP and what goes
// out from one is dropped while the VIP is not in the set open4 or open6. Three tables of the same name hold them:
//
//   - netdev, on each interface that has a VIP: also for frames that pass the IP stack by, as raw sockets and address
//     translation send them.
//   - inet and arp, for all interfaces: Linux answers for each of its addresses on all of them (arp_ignore=0), so that
//     without them a second NIC in the same network would go on answering. Of ARP only the VIP's own interface answers,
//     ever. Only what this machine itself receives and sends is looked at: as a router or a bridge it may stand between
//     others and the VIP's owner.
const tableName = "masthead-vip"

const (
	setVIP4, setVIP6   = "vip4", "vip6"   // the configured ones
	setOpen4, setOpen6 = "open4", "open6" // those that may be used now
)

// Before all others that come in, after all others that go out: whoever answers, duplicates or rewrites in between is
// behind the gate.
const (
	priorityIn  = nftables.ChainPriority(-1000)
	priorityOut = nftables.ChainPriority(1000)
)

// table is one of the three, as it should be.
type table struct {
	family nftables.TableFamily
	sets   []set
	chains []chain
}

// set holds addresses of one kind.
type set struct {
	name string
	id   uint32 // for references within the transaction that makes it
	six  bool
	open bool // its elements have a timeout
}

type chain struct {
	name   string
	hook   *nftables.ChainHook
	prio   nftables.ChainPriority
	device string
	rules  [][]expr.Any
}

var (
	sets4 = []set{{setVIP4, 1, false, false}, {setOpen4, 2, false, true}}
	sets6 = []set{{setVIP6, 3, true, false}, {setOpen6, 4, true, true}}
	sets  = append(append([]set{}, sets4...), sets6...)
)

// tables are all rules, with chains on nics.
func tables(list []Address, nics []string) []table {
	netdev := table{family: nftables.TableFamilyNetdev, sets: sets}
	for _, nic := range nics {
		netdev.chains = append(netdev.chains,
			chain{"in-" + nic, nftables.ChainHookIngress, priorityIn, nic, [][]expr.Any{
				rule(protocol(unix.ETH_P_ARP), arpIn()), rule(protocol(unix.ETH_P_IP), ip4In()), rule(protocol(unix.ETH_P_IPV6), ip6In()), rule(protocol(unix.ETH_P_IPV6), solicitIn()),
			}},
			chain{"out-" + nic, nftables.ChainHookEgress, priorityOut, nic, [][]expr.Any{
				rule(protocol(unix.ETH_P_ARP), arpOut()), rule(protocol(unix.ETH_P_IP), ip4Out()), rule(protocol(unix.ETH_P_IPV6), ip6Out()), rule(protocol(unix.ETH_P_IPV6), advertiseOut()),
			}})
	}
	inet := table{family: nftables.TableFamilyINet, sets: sets, chains: []chain{
		{"in", nftables.ChainHookInput, priorityIn, "", [][]expr.Any{
			rule(notLoopback(expr.MetaKeyIIFNAME), family(unix.NFPROTO_IPV4), ip4In()),
			rule(notLoopback(expr.MetaKeyIIFNAME), family(unix.NFPROTO_IPV6), ip6In()),
			rule(notLoopback(expr.MetaKeyIIFNAME), family(unix.NFPROTO_IPV6), solicitIn()),
		}},
		{"out", nftables.ChainHookOutput, priorityOut, "", [][]expr.Any{
			rule(notLoopback(expr.MetaKeyOIFNAME), family(unix.NFPROTO_IPV4), ip4Out()),
			rule(notLoopback(expr.MetaKeyOIFNAME), family(unix.NFPROTO_IPV6), ip6Out()),
			rule(notLoopback(expr.MetaKeyOIFNAME), family(unix.NFPROTO_IPV6), advertiseOut()),
		}},
	}}
	// NF_ARP_IN and NF_ARP_OUT of linux/netfilter_arp.h.
	arp := table{family: nftables.TableFamilyARP, sets: sets4, chains: []chain{
		{"in", nftables.ChainHookRef(0), priorityIn, "", [][]expr.Any{rule(arpIn())}},
		{"out", nftables.ChainHookRef(1), priorityOut, "", [][]expr.Any{rule(arpOut())}},
	}}
	for _, a := range list {
		if a.Prefix.Addr().Is4() {
			arp.chains[1].rules = append(arp.chains[1].rules, rule(strayReply(a)))
		}
	}
	return []table{netdev, inet, arp}
}

// strayReply matches answers for a VIP on any interface but its own, open or not. Neighbours who learned such a one lose the
// VIP with that interface, and no announcement tells them. (IPv6 answers for the interface's own addresses only.) Questions
// with the VIP as their sender pass: replies to clients may be routed there.
func strayReply(a Address) []expr.Any {
	reply := []expr.Any{load(offARPOp, 2, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, arpReply}}}
	sender := []expr.Any{load(offARPSender, 4, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.Prefix.Addr().AsSlice()}}
	return append(append(notName(expr.MetaKeyOIFNAME, a.NIC), reply...), sender...)
}

// Offsets from the network header, in ARP over Ethernet (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200) and in ND behind it (RFC
// 4861, 4.3 and 4.4).
const (
	offARPOp                    = 6
	offARPSender, offARPTarget  = 14, 24
	offIP4Source, offIP4Dest    = 12, 16
	offIP6Source, offIP6Dest    = 8, 24
	offIP6Next, offType, offTgt = 6, 40, 48
)

// arpIn matches questions for a shut VIP. What another head tells about its VIP has it as sender too: let it pass.
func arpIn() []expr.Any {
	return append(shut(offARPTarget, false),
		load(offARPSender, 4, 2), &expr.Lookup{SourceRegister: 2, SetName: setVIP4, SetID: 1, Invert: true})
}

func arpOut() []expr.Any { return shut(offARPSender, false) }
func ip4In() []expr.Any  { return shut(offIP4Dest, false) }
func ip4Out() []expr.Any { return shut(offIP4Source, false) }
func ip6In() []expr.Any  { return shut(offIP6Dest, true) }
func ip6Out() []expr.Any { return shut(offIP6Source, true) }

// solicitIn matches questions for a shut VIP: they are sent to a group, not to it.
func solicitIn() []expr.Any { return append(neighbor(typeSolicit), shut(offTgt, true)...) }

// advertiseOut matches answers from another address of this machine.
func advertiseOut() []expr.Any { return append(neighbor(typeAdvertise), shut(offTgt, true)...) }

func neighbor(kind byte) []expr.Any {
	return []expr.Any{
		load(offIP6Next, 1, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		load(offType, 1, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
	}
}

// shut matches a VIP at that offset which is not open.
func shut(offset uint32, six bool) []expr.Any {
	n, s := uint32(4), sets4
	if six {
		n, s = 16, sets6
	}
	return []expr.Any{
		load(offset, n, 1),
		&expr.Lookup{SourceRegister: 1, SetName: s[0].name, SetID: s[0].id},
		&expr.Lookup{SourceRegister: 1, SetName: s[1].name, SetID: s[1].id, Invert: true},
	}
}

func load(offset, n, register uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n}
}

func protocol(ether uint16) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, ether)}}
}

func family(nfproto byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{nfproto}}}
}

// notLoopback leaves out what this machine sends to itself: services come up, and are checked, behind the shut gate.
func notLoopback(key expr.MetaKey) []expr.Any { return notName(key, "lo") }

func notName(key expr.MetaKey, nic string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, nic)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name}}
}

// rule counts and drops what matches all.
func rule(matches ...[]expr.Any) []expr.Any {
	var r []expr.Any
	for _, m := range matches {
		r = append(r, m...)
	}
	return append(r, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}

// in is the set as the library wants it.
func (s set) in(t *nftables.Table) *nftables.Set {
	kind := nftables.TypeIPAddr
	if s.six {
		kind = nftables.TypeIP6Addr
	}
	return &nftables.Set{Table: t, ID: s.id, Name: s.name, KeyType: kind, KeyByteOrder: binaryutil.BigEndian, HasTimeout: s.open}
}

// elements are those of addrs that belong in the set. timeout and comment are for open sets only.
func (s set) elements(addrs []netip.Addr, timeout time.Duration, comment string) []nftables.SetElement {
	var out []nftables.SetElement
	for _, a := range addrs {
		if a.Is6() != s.six {
			continue
		}
		e := nftables.SetElement{Key: a.AsSlice()}
		if s.open {
			e.Timeout, e.Comment = timeout, comment
		}
		out = append(out, e)
	}
	return out
}
