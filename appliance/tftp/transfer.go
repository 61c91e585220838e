package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	pin "github.com/pin/tftp/v3"
)

// What clients are told; pin/tftp sends every error as code 1.
var (
	errMissing = errors.New("file not found")
	errName    = errors.New("no such name")
	errBusy    = errors.New("too many transfers, try again")
	errWrite   = errors.New("this server is read-only")
	errOurs    = errors.New("server error")
)

// read serves one request from beginning to end. The error it returns is what the client is sent if the transfer did not
// tell it already.
func (s *Server) read(ctx context.Context, asked string, to io.ReaderFrom) (reply error) {
	e := Event{Time: time.Now(), Kind: KindFailed, Client: peer(to), Name: printable(asked)}
	// GRUB asks again after 0.4 s. Two transfers to one port confuse it, and the first would fail when nobody acknowledges it.
	// No packet answers the repetition; its socket is closed when it is collected.
	again := asking{e.Client, asked}
	if !s.begin(again) {
		return nil
	}
	defer s.end(again)
	defer func() {
		// pin/tftp v3.2.0 writes past its buffer when padded options make the answer longer than the question. One packet
		// must not end the head.
		if r := recover(); r != nil {
			e.Kind, e.Detail, reply = KindFailed, fmt.Sprintf("panic: %v", r), errOurs
		}
		e.Duration = time.Since(e.Time)
		if s.Event != nil {
			s.Event(e)
		}
	}()

	name, ok := cleanName(asked)
	if !ok {
		e.Kind, e.Detail = KindRefused, "not a name of ours"
		return errName
	}
	if !s.admit(e.Client.Addr()) {
		e.Kind, e.Detail = KindRefused, "too many transfers at a time"
		return errBusy
	}
	defer s.leave(e.Client.Addr())

	f, err := s.config.Files(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Detail = KindMissing, err.Error()
		return errMissing
	case err != nil:
		e.Detail = fmt.Sprintf("open: %v", err)
		return errOurs
	}
	defer f.Close()

	ctx, cancel := context.WithTimeoutCause(ctx, s.config.TransferTime, fmt.Errorf("transfer took longer than %v", s.config.TransferTime))
	defer cancel()
	from := &bounded{File: f, ctx: ctx}
	e.Bytes, err = to.ReadFrom(from)
	switch {
	case err == nil:
		e.Kind = KindSent
	case e.Bytes == 0 && strings.HasPrefix(err.Error(), "sending block 0: code="):
		// The answer to the options of RFC 2347, among them the size, has block number 0; the client said no more.
		e.Kind = KindProbed
	case from.failed != nil:
		e.Detail = from.failed.Error()
	default:
		e.Detail = printable(err.Error())
	}
	return err
}

// hook hears from pin/tftp what never becomes a transfer: malformed packets, no socket to be had.
type hook struct{ *Server }

func (hook) OnSuccess(pin.TransferStats) {}

func (h hook) OnFailure(stats pin.TransferStats, err error) {
	if stats.RemoteAddr == nil && h.Event != nil { // else it is a transfer, which is told of elsewhere
		h.Event(Event{Time: time.Now(), Kind: KindFailed, Detail: printable(err.Error())})
	}
}

func (s *Server) refuseWrite(asked string, from io.WriterTo) error {
	if s.Event != nil {
		s.Event(Event{Time: time.Now(), Kind: KindRefused, Client: peer(from), Name: printable(asked), Detail: "tries to write"})
	}
	return errWrite
}

// bounded is a file whose reading ends with a context. It keeps an error to itself: pin/tftp sends what it gets.
type bounded struct {
	File
	ctx    context.Context
	failed error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.File.Read(p)
	if err != nil && err != io.EOF {
		b.failed, err = fmt.Errorf("read: %w", err), errOurs
	}
	return n, err
}

// begin notes a request, unless it is one that is being answered.
func (s *Server) begin(r asking) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[r] {
		return false
	}
	s.asked[r] = true
	return true
}

func (s *Server) end(r asking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, r)
}

// admit counts a transfer in, unless there are too many.
func (s *Server) admit(host netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= s.config.MaxTransfers || s.byHost[host] >= s.config.MaxPerHost {
		return false
	}
	s.total++
	s.byHost[host]++
	return true
}

func (s *Server) leave(host netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.byHost[host]--; s.byHost[host] == 0 {
		delete(s.byHost, host)
	}
}

// peer asks pin/tftp's transfer who is at the other end.
func peer(transfer any) netip.AddrPort {
	var addr net.UDPAddr
	switch t := transfer.(type) {
	case pin.OutgoingTransfer:
		addr = t.RemoteAddr()
	case pin.IncomingTransfer:
		addr = t.RemoteAddr()
	}
	ap := addr.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// printable keeps a client's text from playing tricks in a terminal or a web page, and short.
func printable(s string) string {
	q := strconv.QuoteToASCII(s[:min(len(s), 200)])
	return q[1 : len(q)-1]
}
