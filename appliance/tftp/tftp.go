// Package tftp hands firmware its first loader, and machines with Secure Boot all that they start from: it reads from a
// set of files by name and never writes. What comes after the loader is fetched by HTTP where the loader can.
//
// The protocol is pin/tftp's, in its mode with a port for each transfer. What is decided here is which names lead to
// which file, how many transfers there may be and how long they may take, and what is told about them.
package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	pin "github.com/pin/tftp/v3"
)

const (
	// DefaultAddr is every address of the head, on the port that firmware knows.
	DefaultAddr = ":69"
	// DefaultTimeout is how long an acknowledgement is waited for. On a LAN it takes a millisecond; firmware that is busy
	// erasing or drawing may take longer.
	DefaultTimeout = time.Second
	// DefaultRetries ends a transfer to a machine that was switched off after 6 s. Firmware gives up no later.
	DefaultRetries = 5
	// DefaultMaxTransfers lets a thousand machines that start at once be through with a loader of 300 KB within seconds,
	// and costs a socket and some 10 KB for each.
	DefaultMaxTransfers = 512
	// DefaultMaxPerHost is more than one machine needs: firmware that lost an answer asks again, and the first transfer
	// lives on for a while.
	DefaultMaxPerHost = 16
	// DefaultTransferTime bounds a transfer that goes on, but at the pace of a client that wants to occupy us.
	DefaultTransferTime = 5 * time.Minute
)

// Config describes the service. Zero values stand for the defaults.
type Config struct {
	Addr         string // "host:port"; listens on IPv4 only, as BIOS firmware does
	Files        Files
	Timeout      time.Duration
	Retries      int
	MaxTransfers int
	MaxPerHost   int
	TransferTime time.Duration
}

// Server serves files over TFTP. Event may be set before Run.
type Server struct {
	// Event is told of every request when it is over, by many goroutines at a time; it must not block. Nil: nobody is told.
	Event func(Event)

	config Config

	mu     sync.Mutex
	total  int
	byHost map[netip.Addr]int
	asked  map[asking]bool // under way
}

// asking is a request. It is told from its repetition by the client's port: another transfer comes from another one (RFC 1350, section 4).
type asking struct {
	client netip.AddrPort
	name   string
}

// New checks the configuration and names all that is wrong with it.
func New(c Config) (*Server, error) {
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	for _, d := range []struct{ value, def *time.Duration }{
		{&c.Timeout, new(DefaultTimeout)},
		{&c.TransferTime, new(DefaultTransferTime)},
	} {
		if *d.value == 0 {
			*d.value = *d.def
		}
	}
	for _, d := range []struct {
		value *int
		def   int
	}{{&c.Retries, DefaultRetries}, {&c.MaxTransfers, DefaultMaxTransfers}, {&c.MaxPerHost, DefaultMaxPerHost}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	var errs []error
	if c.Files == nil {
		errs = append(errs, errors.New("tftp: files: none given"))
	}
	if c.Timeout < 0 || c.Retries < 0 || c.MaxTransfers < 0 || c.MaxPerHost < 0 || c.TransferTime < 0 {
		errs = append(errs, errors.New("tftp: limits: want no negative numbers"))
	}
	if _, err := net.ResolveUDPAddr("udp4", c.Addr); err != nil {
		errs = append(errs, fmt.Errorf("tftp: address %q: %w", c.Addr, err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Server{config: c, byHost: map[netip.Addr]int{}, asked: map[asking]bool{}}, nil
}

// Run listens and serves until ctx ends, and returns nil then. Transfers under way are broken off: one that waits for a
// client's acknowledgement ends by the time its retries are used up (6 s by default), and Run returns after the last.
func (s *Server) Run(ctx context.Context) error {
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp4", s.config.Addr)
	if err != nil {
		return fmt.Errorf("tftp: %w", err)
	}
	return s.Serve(ctx, conn.(*net.UDPConn))
}

// Serve is Run on a socket that the caller opened. It closes the socket.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	server := pin.NewServer(
		func(name string, to io.ReaderFrom) error { return s.read(ctx, name, to) },
		s.refuseWrite,
	)
	server.SetTimeout(s.config.Timeout)
	server.SetRetries(s.config.Retries)
	server.SetHook(hook{s})
	server.SetBackoff(func(int) time.Duration { return 0 }) // having waited for the timeout is enough

	served := make(chan error, 1)
	go func() { served <- server.Serve(conn) }()
	select {
	case err := <-served: // it goes on after errors of the socket; this is about its address
		return fmt.Errorf("tftp: serve on %v: %w", conn.LocalAddr(), err)
	case <-ctx.Done():
	}
	// Shutdown waits for the transfers while the loop may still start one. So the loop is kept from reading first, and
	// after it has ended the transfers are waited for again.
	conn.SetReadDeadline(time.Unix(1, 0))
	server.Shutdown()
	err := <-served
	server.Shutdown()
	return err
}
