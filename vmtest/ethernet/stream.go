package ethernet

import (
	"net"

	"masthead/vmtest/plug"
)

// Plug adds a port for one QEMU network card, which connects to the unix socket at
// path (-netdev stream,server=off,addr.type=unix). The next one may connect when
// the first is gone; frames for nobody are lost.
func (s *Switch) Plug(name, path string) (*Port, error) {
	p := s.newPort(name)
	socket, err := plug.Listen(path, p.serve)
	if err != nil {
		return nil, err
	}
	p.unplug = func() { socket.Close() }
	if err := s.add(p); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

const (
	// readSize and writeSize are what one system call moves, well above a frame:
	// calls are what a userspace switch spends its time on.
	readSize  = 256 << 10
	writeSize = 256 << 10
	batch     = 128 // frames taken from a queue at once
)

// read takes frames off conn until it ends or breaks the framing.
func (p *Port) read(conn net.Conn) {
	buffer := make([]byte, readSize)
	var have int
	for {
		n, err := conn.Read(buffer[have:])
		have += n
		stream := buffer[:have]
		for {
			frame, rest, bad := cutFrame(stream)
			if bad != nil {
				p.traffic.malformed.Add(1)
				return // QEMU would have lost its place as well
			}
			stream = rest
			if frame == nil {
				break
			}
			p.fromDevice(frame)
		}
		if err != nil {
			return
		}
		have = copy(buffer, stream)
	}
}

// write puts waiting frames on conn until it or the device is gone.
func (p *Port) write(conn net.Conn, ended <-chan struct{}) {
	buffer := make([]byte, 0, writeSize)
	frames := make([]*frame, 0, batch)
	for {
		frames = p.waiting.pop(frames[:0], batch)
		if len(frames) == 0 {
			select {
			case <-p.waiting.ready:
				continue
			case <-ended:
				return
			}
		}
		buffer = buffer[:0]
		failed := false
		for _, f := range frames {
			if len(buffer)+len(f.wire) > cap(buffer) {
				_, err := conn.Write(buffer)
				failed = failed || err != nil
				buffer = buffer[:0]
			}
			buffer = append(buffer, f.wire...)
			f.release()
		}
		if _, err := conn.Write(buffer); err != nil || failed {
			conn.Close() // so that read ends as well
			<-ended
			return
		}
	}
}
