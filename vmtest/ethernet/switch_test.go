package ethernet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func station(n byte) MAC { return MAC{0x52, 0x54, 0, 0, 0, n} }

// numbered is a frame that carries a number to tell it by.
func numbered(to, from MAC, n int) []byte {
	b := append(append(append([]byte{}, to[:]...), from[:]...), 0x88, 0xb5) // local experimental EtherType
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func number(frame []byte) int { return int(binary.BigEndian.Uint32(frame[headerLen:])) }

// bench is a switch in a synctest bubble, with ports named a, b, c ….
type bench struct {
	t  *testing.T
	sw *Switch
}

func newBench(t *testing.T, ports ...string) *bench {
	sw := NewSwitch("lan", 1)
	t.Cleanup(func() { sw.Close() })
	for _, name := range ports {
		if _, err := sw.Attach(name); err != nil {
			t.Fatal(err)
		}
	}
	return &bench{t, sw}
}

func (b *bench) send(port string, to, from MAC, n int) {
	b.t.Helper()
	if err := b.sw.Port(port).Send(numbered(to, from, n)); err != nil {
		b.t.Fatal(err)
	}
}

// drain returns the numbers of the frames that are at the port now.
func (b *bench) drain(port string) []int {
	synctest.Wait()
	var got []int
	for _, f := range b.sw.Port(port).waiting.pop(nil, 1<<20) {
		got = append(got, number(f.data()))
		f.release()
	}
	return got
}

func (b *bench) want(port string, want ...int) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.drain(port)); diff != "" {
		b.t.Errorf("frames at port %s (-want +got):\n%s", port, diff)
	}
}

func TestLearnsAndFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b", "c")
		b.send("a", station(2), station(1), 1) // nobody knows 2
		b.want("b", 1)
		b.want("c", 1)
		b.send("b", station(1), station(2), 2) // 1 is known now
		b.want("a", 2)
		b.want("c")
		b.send("a", station(2), station(1), 3) // and 2
		b.want("b", 3)
		b.want("c")
		b.send("c", broadcast, station(3), 4)
		b.want("a", 4)
		b.want("b", 4)
		b.send("b", station(2), station(2), 5) // to its own port: nobody needs it
		b.want("a")
		b.want("c")

		b.send("c", broadcast, station(2), 6) // 2 has moved, as a virtual IP does
		b.drain("a")
		b.drain("b")
		b.send("a", station(2), station(1), 7)
		b.want("b")
		b.want("c", 7)

		time.Sleep(tableAge + time.Second) // 2 is forgotten
		b.send("a", station(2), station(1), 8)
		b.want("b", 8)
		b.want("c", 8)
	})
}

func TestForgetsAClosedPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b", "c")
		b.send("b", station(1), station(2), 1)
		b.drain("a")
		b.drain("c")
		closed := b.sw.Port("b")
		closed.Close()
		b.send("a", station(2), station(1), 2)
		b.want("c", 2)
		if err := closed.Send(numbered(broadcast, station(2), 3)); !errors.Is(err, ErrClosed) {
			t.Errorf("Send on a closed port: %v, want ErrClosed", err)
		}
		if _, err := closed.Receive(context.Background(), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Receive on a closed port: %v, want ErrClosed", err)
		}
	})
}

func TestTableIsBounded(t *testing.T) {
	var table table
	port := new(Port)
	start := time.Unix(1000, 0)
	address := func(n int) (m MAC) {
		binary.BigEndian.PutUint32(m[2:], uint32(n))
		return m
	}
	for n := range 2 * tableSize {
		table.learn(address(n), port, start)
	}
	if got := len(table.entries); got != tableSize {
		t.Errorf("table has %d addresses, want %d", got, tableSize)
	}
	later := start.Add(tableAge + time.Minute)
	table.learn(address(5*tableSize), port, later)
	if table.lookup(address(5*tableSize), later) != port {
		t.Error("a full table of aged addresses takes no new one")
	}
}

func TestFaults(t *testing.T) {
	const frames = 1000
	for _, test := range []struct {
		name   string
		faults Faults
		// what comes of 1000 frames, seed 1: exact, because drawn from the seed
		arrive, twice int
		ordered       bool
	}{
		{"none", Faults{}, 1000, 0, true},
		{"cut", Faults{Cut: true}, 0, 0, true},
		{"all lost", Faults{Loss: 100}, 0, 0, true},
		{"loss", Faults{Loss: 10}, 898, 0, true},
		{"duplicate", Faults{Duplicate: 5}, 1000, 46, true},
		{"jitter keeps the order", Faults{Delay: 5 * time.Millisecond, Jitter: 50 * time.Millisecond}, 1000, 0, true},
		{"reorder", Faults{Reorder: 5}, 1000, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "a", "b")
				if err := b.sw.Port("b").SetFaults(Receive, test.faults); err != nil {
					t.Fatal(err)
				}
				for n := range frames {
					b.send("a", station(2), station(1), n)
					time.Sleep(time.Millisecond)
				}
				time.Sleep(time.Second)
				got := b.drain("b")
				seen := make(map[int]int)
				ordered, twice := true, 0
				for i, n := range got {
					ordered = ordered && (i == 0 || n >= got[i-1])
					if seen[n]++; seen[n] > 1 {
						twice++
					}
				}
				if len(seen) != test.arrive || twice != test.twice || ordered != test.ordered {
					t.Errorf("%d arrive, %d of them twice, ordered %v; want %d, %d, %v",
						len(seen), twice, ordered, test.arrive, test.twice, test.ordered)
				}
				if lost := b.sw.Port("b").Counters().Lost; lost != uint64(frames-len(seen)) {
					t.Errorf("counted %d lost, want %d", lost, frames-len(seen))
				}
			})
		})
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b")
		port := b.sw.Port("a")
		if err := port.SetFaults(Transmit, Faults{Delay: 100 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		b.send("a", broadcast, station(1), 1)
		time.Sleep(99 * time.Millisecond)
		b.want("b")
		time.Sleep(time.Millisecond)
		b.want("b", 1)
		b.send("b", broadcast, station(2), 2) // the other way is untouched
		b.want("a", 2)

		b.send("a", broadcast, station(1), 3)
		port.SetFaults(Both, Faults{}) // healed: 4 does not overtake 3
		b.send("a", broadcast, station(1), 4)
		b.want("b")
		time.Sleep(100 * time.Millisecond)
		b.want("b", 3, 4)
		b.send("a", broadcast, station(1), 5)
		b.want("b", 5)

		port.SetFaults(Transmit, Faults{Delay: time.Second})
		b.send("a", broadcast, station(1), 6)
		port.SetFaults(Transmit, Faults{Cut: true}) // lost under way
		time.Sleep(2 * time.Second)
		b.want("b")
	})
}

func TestCutOneWay(t *testing.T) {
	for _, test := range []struct {
		cut         Direction
		sent, heard []int
	}{
		{Transmit, nil, []int{2}},
		{Receive, []int{1}, nil},
		{Both, nil, nil},
	} {
		t.Run(test.cut.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "a", "b")
				if err := b.sw.Port("a").ChangeFaults(test.cut, func(f *Faults) { f.Cut = true }); err != nil {
					t.Fatal(err)
				}
				b.send("a", broadcast, station(1), 1)
				b.send("b", broadcast, station(2), 2)
				b.want("b", test.sent...)
				b.want("a", test.heard...)
			})
		})
	}
}

func TestFaultsValidate(t *testing.T) {
	for _, test := range []struct {
		faults Faults
		ok     bool
	}{
		{Faults{Loss: 100, Duplicate: 0, Reorder: 0.5}, true},
		{Faults{Loss: 101}, false},
		{Faults{Reorder: -1}, false},
		{Faults{Delay: -time.Second}, false},
	} {
		if err := test.faults.Validate(); (err == nil) != test.ok {
			t.Errorf("%+v: %v, want ok %v", test.faults, err, test.ok)
		}
	}
}

func TestTrunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, right := NewSwitch("left", 1), NewSwitch("right", 1)
		defer left.Close()
		defer right.Close()
		a, _ := left.Attach("a")
		c, _ := right.Attach("c")
		trunk, err := NewTrunk(left, right)
		if err != nil {
			t.Fatal(err)
		}
		defer trunk.Close()
		buffer := make([]byte, MaxFrame)
		a.Send(numbered(broadcast, station(1), 7))
		n, err := c.Receive(t.Context(), buffer)
		if err != nil || number(buffer[:n]) != 7 {
			t.Fatalf("across the trunk came %x, %v", buffer[:n], err)
		}
		trunk.A.SetFaults(Both, Faults{Cut: true})
		c.Send(numbered(station(1), station(3), 8))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Receive(ctx, buffer); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("across a cut trunk: %v, want a deadline", err)
		}
	})
}

func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b")
		b.sw.Port("a").SetFilter(func(frame []byte) []byte {
			if number(frame) == 2 {
				return nil
			}
			frame[len(frame)-1] += 10
			return frame
		})
		b.send("a", broadcast, station(1), 1)
		b.send("a", broadcast, station(1), 2)
		b.sw.Port("a").SetFilter(nil)
		b.send("a", broadcast, station(1), 3)
		b.want("b", 11, 3)
	})
}

func TestPortNamesAreUnique(t *testing.T) {
	b := newBench(t, "a")
	if _, err := b.sw.Attach("a"); err == nil {
		t.Error("a second port a was taken")
	}
	b.sw.Close()
	if _, err := b.sw.Attach("z"); err == nil {
		t.Error("a closed switch took a port")
	}
}

// nic is a QEMU network card as the switch sees it: a stream socket.
func nic(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func prefixed(frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

func receive(t *testing.T, p *Port) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	buffer := make([]byte, MaxFrame)
	n, err := p.Receive(ctx, buffer)
	if err != nil {
		t.Fatalf("port %s: %v", p.Name(), err)
	}
	return buffer[:n]
}

func TestPlug(t *testing.T) {
	sw := NewSwitch("lan", 1)
	defer sw.Close()
	path := t.TempDir() + "/nic"
	plugged, err := sw.Plug("n01", path)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := sw.Attach("host")

	for life := range 2 { // the machine is switched off and on
		conn := nic(t, path)
		conn.Write(append(prefixed(numbered(broadcast, station(1), 1)), prefixed(numbered(broadcast, station(1), 2))...))
		for want := 1; want <= 2; want++ {
			if got := number(receive(t, host)); got != want {
				t.Fatalf("life %d: frame %d, want %d", life, got, want)
			}
		}
		answer := numbered(station(1), station(9), 3)
		host.Send(answer)
		got := make([]byte, len(prefixed(answer)))
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := readFull(conn, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(prefixed(answer), got); diff != "" {
			t.Errorf("on the wire (-want +got):\n%s", diff)
		}
		conn.Close()
	}

	hostile := nic(t, path)
	hostile.Write(prefixed([]byte("short")))                        // no header: dropped
	hostile.Write(prefixed(numbered(broadcast, station(1), 4)))     // still in step
	hostile.Write(append([]byte{0xff, 0xff, 0xff, 0xff}, "xyz"...)) // never a length
	if got := number(receive(t, host)); got != 4 {
		t.Errorf("after a short frame: %d, want 4", got)
	}
	hostile.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := hostile.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("an impossible length keeps the connection: %v", err)
	}
	if got := plugged.Counters().Malformed; got != 2 {
		t.Errorf("counted %d malformed, want 2", got)
	}
	// And the next device is served.
	conn := nic(t, path)
	conn.Write(prefixed(numbered(broadcast, station(1), 5)))
	if got := number(receive(t, host)); got != 5 {
		t.Errorf("after the hostile device: %d, want 5", got)
	}
}

func readFull(conn net.Conn, b []byte) (int, error) {
	for have := 0; have < len(b); {
		n, err := conn.Read(b[have:])
		if err != nil {
			return have, err
		}
		have += n
	}
	return len(b), nil
}

func TestPausedDeviceStopsNobody(t *testing.T) {
	sw := NewSwitch("lan", 1)
	defer sw.Close()
	path := t.TempDir() + "/nic"
	paused, err := sw.Plug("paused", path)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := sw.Attach("a")
	b, _ := sw.Attach("b")
	nic(t, path).Write(prefixed(numbered(broadcast, station(1), 1))) // and never reads
	receive(t, a)
	receive(t, b)
	frame := make([]byte, 1500)
	copy(frame, numbered(broadcast, station(2), 2))
	for range 2 * queueBytes / len(frame) {
		a.Send(frame)
		receive(t, b)
	}
	if paused.Counters().Overflow == 0 {
		t.Error("nothing overflowed at the paused device")
	}
	paused.Close() // returns although the device takes nothing
}

func BenchmarkLocal(b *testing.B) {
	for _, size := range []int{60, 1514, 9014} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			sw := NewSwitch("lan", 1)
			defer sw.Close()
			from, _ := sw.Attach("from")
			to, _ := sw.Attach("to")
			to.Send(numbered(broadcast, station(2), 0))
			frame := make([]byte, size)
			copy(frame, numbered(station(2), station(1), 0))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			pump(b, from, to, frame, func(window chan struct{}) {
				buffer := make([]byte, MaxFrame)
				for range b.N {
					if _, err := to.Receive(b.Context(), buffer); err != nil {
						b.Error(err)
						return
					}
					<-window
				}
			})
		})
	}
}

// BenchmarkPlug crosses two unix sockets, as between two machines.
func BenchmarkPlug(b *testing.B) {
	sw := NewSwitch("lan", 1)
	defer sw.Close()
	dir := b.TempDir()
	conns := make([]net.Conn, 2)
	for i := range conns {
		path := fmt.Sprintf("%s/%d", dir, i)
		if _, err := sw.Plug(fmt.Sprint(i), path); err != nil {
			b.Fatal(err)
		}
		conns[i], _ = net.Dial("unix", path)
		defer conns[i].Close()
	}
	probe, _ := sw.Attach("probe")
	conns[1].Write(prefixed(numbered(broadcast, station(2), 0)))
	probe.Receive(b.Context(), make([]byte, MaxFrame))
	conns[0].Write(prefixed(numbered(station(9), station(1), 0)))
	probe.Receive(b.Context(), make([]byte, MaxFrame))
	probe.Close()

	frame := make([]byte, 1514)
	copy(frame, numbered(station(2), station(1), 0))
	wire := prefixed(frame)
	var burst []byte
	for range 32 {
		burst = append(burst, wire...)
	}
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	done := make(chan struct{})
	window := make(chan struct{}, 256)
	go func() {
		defer close(done)
		buffer := make([]byte, 256<<10)
		skip := len(prefixed(numbered(station(9), station(1), 0)))
		for have, want := -skip, b.N*len(wire); have < want; {
			n, err := conns[1].Read(buffer)
			if err != nil {
				b.Error(err)
				return
			}
			for range (max(have, 0)%len(burst) + n) / len(burst) {
				select {
				case <-window:
				default:
				}
			}
			have += n
		}
	}()
	b.ResetTimer()
	for left := b.N; left > 0; left -= 32 {
		window <- struct{}{}
		conns[0].Write(burst[:min(left, 32)*len(wire)])
	}
	<-done
}

// pump sends b.N frames, with fewer under way than a queue holds.
func pump(b *testing.B, from, to *Port, frame []byte, receive func(chan struct{})) {
	window := make(chan struct{}, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		receive(window)
	}()
	b.ResetTimer()
	for range b.N {
		window <- struct{}{}
		if err := from.Send(frame); err != nil {
			b.Fatal(err)
		}
	}
	<-done
}
