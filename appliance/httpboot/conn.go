package httpboot

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener makes the plain port send files as a web server should: header and beginning of the body in one packet, and
// the body by sendfile(2) from a file that many answers share. net/http alone sends the header by itself, which wakes
// the client once for nothing, and wants each file opened anew, since it uses the file's own offset.
//
// Without it, and over TLS, everything works the same and costs more.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c, nil
	}
	return &conn{TCPConn: tcp, raw: raw}, nil
}

// conn is a TCP connection that can hold a header back until its body comes. net/http writes from one goroutine at a
// time.
type conn struct {
	*net.TCPConn
	raw  syscall.RawConn
	hold bool
	held []byte
}

type connKey struct{}

// connContext is for http.Server: it lets a handler find its conn.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// Write sends p, or keeps it if it is the header that was to be held.
func (c *conn) Write(p []byte) (int, error) {
	if c.hold {
		c.hold = false
		c.held = append(c.held[:0], p...)
		return len(p), nil
	}
	if len(c.held) > 0 {
		held := c.held
		c.held = c.held[:0]
		if _, err := c.TCPConn.Write(held); err != nil {
			return 0, err
		}
	}
	return c.TCPConn.Write(p)
}

// ReadFrom is how net/http hands over a body.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if part, ok := r.(*filePart); ok {
		return c.sendFile(part)
	}
	if len(c.held) > 0 {
		if _, err := c.Write(nil); err != nil {
			return 0, err
		}
	}
	return c.TCPConn.ReadFrom(r)
}

// sendFile sends what was held, then the part.
func (c *conn) sendFile(part *filePart) (sent int64, err error) {
	var werr error
	err = c.raw.Write(func(fd uintptr) bool {
		for len(c.held) > 0 {
			n, err := unix.SendmsgN(int(fd), c.held, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				werr = err
				return err != unix.EAGAIN
			}
			c.held = c.held[n:]
		}
		for part.size > 0 {
			n, err := unix.Sendfile(int(fd), int(part.file.Fd()), &part.at, int(min(part.size, 1<<30)))
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				werr = err
				return err != unix.EAGAIN
			}
			if n == 0 {
				werr = io.ErrUnexpectedEOF // the file became shorter
				return true
			}
			sent += int64(n)
			part.size -= int64(n)
		}
		werr = nil
		return true
	})
	c.held = nil // its space has moved; headers are small
	if err == nil && werr != nil {
		err = os.NewSyscallError("sendfile", werr)
	}
	return sent, err
}

// filePart is a part of a file that others may read at the same time. As an io.Reader it is for connections that
// cannot send files.
type filePart struct {
	file *os.File
	at   int64
	size int64
}

func (p *filePart) Read(b []byte) (int, error) {
	if p.size == 0 {
		return 0, io.EOF
	}
	n, err := p.file.ReadAt(b[:min(int64(len(b)), p.size)], p.at)
	p.at += int64(n)
	p.size -= int64(n)
	if err == io.EOF && p.size > 0 {
		err = io.ErrUnexpectedEOF
	} else if n > 0 {
		err = nil
	}
	return n, err
}

// sendHeaderWith makes the header of an answer wait for its body, where the connection can do that.
func sendHeaderWith(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		return
	}
	w.WriteHeader(http.StatusOK)
	c.hold = true
	// With the header gone, as net/http believes, it does not read the first bytes of the body to guess their type.
	if err := http.NewResponseController(w).Flush(); err != nil {
		c.hold = false // the connection is broken, and the body will tell
	}
}
