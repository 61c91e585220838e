package vip

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// watcher asks for an address every 5 ms, in its own frames, and notes when each answer came.
type watcher struct {
	t    testing.TB
	conn net.PacketConn
	stop chan struct{}
	done sync.WaitGroup

	mu   sync.Mutex
	sent []time.Time
	got  map[int]time.Time // by number of the question
	by   map[string]int    // answers by hardware address, for ARP
	all  []time.Time       // of each answer
}

const watchEvery = 5 * time.Millisecond

// ping asks by ICMP, through the machine's own neighbour table.
func (l *lab) ping(machine string, target netip.Addr) *watcher {
	l.t.Helper()
	w := &watcher{t: l.t, stop: make(chan struct{}), got: map[int]time.Time{}, by: map[string]int{}}
	network, kind, reply := "ip4:icmp", byte(8), byte(0)
	if target.Is6() {
		network, kind, reply = "ip6:ipv6-icmp", 128, 129
	}
	l.in(machine, func() (err error) {
		w.conn, err = net.ListenPacket(network, "")
		return err
	})
	id := uint16(time.Now().UnixNano())
	w.run(func(n int) error {
		b := binary.BigEndian.AppendUint16([]byte{kind, 0, 0, 0}, id)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		if target.Is4() { // of IPv6 the kernel does it
			sum := uint32(kind)<<8 + uint32(id) + uint32(n)
			sum = sum>>16 + sum&0xffff
			binary.BigEndian.PutUint16(b[2:], ^uint16(sum>>16+sum&0xffff))
		}
		w.conn.SetWriteDeadline(time.Now().Add(watchEvery)) // the kernel keeps what it cannot send for want of a neighbour
		_, err := w.conn.WriteTo(b, &net.IPAddr{IP: target.AsSlice()})
		return err
	}, func(b []byte) (int, string, bool) {
		if len(b) < 8 || b[0] != reply || binary.BigEndian.Uint16(b[4:]) != id {
			return 0, "", false
		}
		return int(binary.BigEndian.Uint16(b[6:])), "", true
	})
	return w
}

// arping asks by ARP or neighbour solicitation. Answers have no number: each counts for the last question.
func (l *lab) arping(machine, nic string, target netip.Addr) *watcher {
	l.t.Helper()
	w := &watcher{t: l.t, stop: make(chan struct{}), got: map[int]time.Time{}, by: map[string]int{}}
	proto, from := unix.ETH_P_ARP, netip.MustParseAddr(l.addr4(machine))
	if target.Is6() {
		proto, from = unix.ETH_P_IPV6, netip.MustParseAddr(l.addr6(machine))
	}
	var own net.HardwareAddr
	l.in(machine, func() error {
		ifi, err := net.InterfaceByName(nic)
		if err != nil {
			return err
		}
		own = ifi.HardwareAddr
		w.conn, err = packet.Listen(ifi, packet.Datagram, proto, nil)
		return err
	})
	w.run(func(n int) error {
		q := question(target, from, own)
		_, err := w.conn.WriteTo(q.payload, &packet.Addr{HardwareAddr: q.to})
		return err
	}, func(b []byte) (int, string, bool) {
		if len(b) < arpLen || proto == unix.ETH_P_IPV6 && (len(b) < ip6Len+ndLen || b[ip6Len] != typeAdvertise) || proto == unix.ETH_P_ARP && b[7] != arpReply {
			return 0, "", false
		}
		c, ok := readClaim(uint16(proto), make(net.HardwareAddr, 6), b)
		if !ok || c.addr != target {
			return 0, "", false
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.sent) - 1, c.hardware().String(), true // -1: the kernel has asked before us
	})
	return w
}

func (w *watcher) run(send func(n int) error, parse func([]byte) (int, string, bool)) {
	w.done.Go(func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for n := 0; ; n++ {
			w.mu.Lock()
			w.sent = append(w.sent, time.Now())
			w.mu.Unlock()
			if send(n) != nil { // it was not asked: the number is used again
				w.mu.Lock()
				w.sent = w.sent[:len(w.sent)-1]
				w.mu.Unlock()
				n--
			}
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	w.done.Go(func() {
		b := make([]byte, 2048)
		for {
			n, _, err := w.conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
				return
			}
			if err != nil {
				continue // ICMP errors: unreachable
			}
			if number, by, ok := parse(b[:n]); ok {
				w.mu.Lock()
				now := time.Now()
				w.got[number], w.all = now, append(w.all, now)
				w.by[by]++
				w.mu.Unlock()
			}
		}
	})
	w.t.Cleanup(w.end)
}

func (w *watcher) end() {
	select {
	case <-w.stop:
		return
	default:
	}
	close(w.stop)
	for range 100 { // the last answers are on their way
		if time.Sleep(10 * time.Millisecond); w.lost() <= 0 {
			break
		}
	}
	w.conn.Close()
	w.done.Wait()
}

// since is what came of the questions sent from a time on.
func (w *watcher) since(from time.Time) (asked, answered int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, at := range w.sent {
		if at.Before(from) {
			continue
		}
		asked++
		if _, ok := w.got[n]; ok {
			answered++
		}
	}
	return asked, answered
}

// last is when the last question that was answered was asked: a busy machine reads answers late.
func (w *watcher) last() (last time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := range w.got {
		if n >= 0 && n < len(w.sent) && w.sent[n].After(last) {
			last = w.sent[n]
		}
	}
	return last
}

// unanswered is how many questions of a time were not answered.
func (w *watcher) unanswered(from, to time.Time) (count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n, at := range w.sent {
		if _, ok := w.got[n]; !ok && at.After(from) && at.Before(to) {
			count++
		}
	}
	return count
}

// lost is how many questions more than answers there were, of all. For ARP and ND it may be below zero: the kernel asks too.
func (w *watcher) lost() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sent) - len(w.all)
}

// gap is the longest time without an answer, from a time on: from a question that got none to the next one that did. A
// single one is not told from an answer that was slow, of questions without a number, and a watcher that had no processor to
// ask with has seen nothing.
func (w *watcher) gap(from time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var longest time.Duration
	var first time.Time
	unanswered := 0
	for n, at := range w.sent {
		if at.Before(from) {
			continue
		}
		if _, ok := w.got[n]; !ok {
			if unanswered++; unanswered == 1 {
				first = at
			}
			continue
		}
		if unanswered > 1 {
			longest = max(longest, at.Sub(first))
		}
		unanswered = 0
	}
	return longest
}

// answering waits for an answer to a question that was sent after now.
func (w *watcher) answering() time.Duration {
	w.t.Helper()
	from := time.Now()
	return await(w.t, "an answer", func() bool { _, n := w.since(from); return n > 0 })
}

// silent asserts that nothing is answered for so long, and that somebody asked.
func (w *watcher) silent(what string, d time.Duration) {
	w.t.Helper()
	from := time.Now()
	time.Sleep(d)
	await(w.t, "questions", func() bool { asked, _ := w.since(from); return asked >= int(d/watchEvery)/4 }) // a busy machine
	if asked, answered := w.since(from); answered > 0 {
		w.t.Errorf("%s: %d of %d questions were answered", what, answered, asked)
	}
}
