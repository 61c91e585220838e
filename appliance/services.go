package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"masthead/appliance/dhcp"
	"masthead/appliance/httpboot"
	"masthead/appliance/tftp"
	"masthead/node/wire"
)

// stopTimeout is for answers under way when the head stops.
const stopTimeout = 3 * time.Second

// serveOn serves handler on a listener until ctx ends.
func (h *Head) serveOn(ctx context.Context, l net.Listener, handler http.Handler) error {
	srv := httpboot.Server(handler)
	srv.ErrorLog = slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)
	// Streams end with the head, not with their clients.
	srv.BaseContext = func(net.Listener) context.Context { return ctx }
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(l)
	if !stop() {
		<-stopped
		return ctx.Err()
	}
	return err
}

func (h *Head) serveHTTP(ctx context.Context, handler http.Handler) error {
	l, err := h.listen(ctx, h.cfg.HTTP)
	if err != nil {
		return err
	}
	return h.serveOn(ctx, httpboot.Listener(l), handler)
}

func (h *Head) serveHTTPS(ctx context.Context, handler http.Handler) error {
	l, err := h.listen(ctx, h.cfg.HTTPS)
	if err != nil {
		return err
	}
	return h.serveOn(ctx, tls.NewListener(l, h.server.TLSConfig()), handler)
}

// listen opens a port on all addresses: the head may have one for the cluster and one to the outside.
func (h *Head) listen(ctx context.Context, port uint16) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// serveSocket serves the API to root on this machine.
func (h *Head) serveSocket(ctx context.Context, handler http.Handler) error {
	if err := os.MkdirAll(filepath.Dir(h.cfg.Socket), 0o755); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// A head that was killed leaves its socket behind. Two heads at once are kept apart by the state's own lock.
	if err := os.Remove(h.cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listen: %w", err)
	}
	l, err := net.Listen("unix", h.cfg.Socket)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(h.cfg.Socket, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("listen: %w", err)
	}
	return h.serveOn(ctx, l, handler)
}

func (h *Head) serveTFTP(ctx context.Context) error {
	s, err := tftp.New(tftp.Config{Files: h.tftpFiles})
	if err != nil {
		return err
	}
	s.Event = h.tftpEvent
	return s.Run(ctx)
}

// tftpEvent makes a stage of a transfer. Firmware that only asks for a file's size, as UEFI does first, and breaks off
// has not fetched anything yet.
func (h *Head) tftpEvent(e tftp.Event) {
	if e.Kind == tftp.KindMissing && askedInVain(e.Name) {
		return
	}
	mac := h.macOf(e.Client.Addr())
	s := wire.StageResult{Stage: tftpStage(e.Name), Outcome: wire.OutcomeDone, Took: e.Duration.Seconds(), Time: e.Time.UTC(),
		Detail: e.Name + ", " + sizeText(e.Bytes)}
	event := wire.Event{Time: e.Time, Kind: "tftp", MAC: mac, Text: strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Kind, e.Name, e.Detail))}
	switch e.Kind {
	case tftp.KindSent:
		h.uefi.sent(mac, e.Name)
	case tftp.KindProbed:
		mac = ""
	default:
		event.Failed = true
		s.Outcome, s.Cause = wire.OutcomeFailed, fmt.Sprintf("%s: %s: %s", e.Name, e.Kind, e.Detail)
	}
	h.observe(mac, s, event)
}

// observe enters what the head saw of a machine's boot from outside. A machine that cannot be told is an event alone.
func (h *Head) observe(mac string, s wire.StageResult, e wire.Event) {
	if mac != "" && s.Stage != "" {
		if err := h.reg.Observe(mac, s, time.Now()); err != nil {
			h.log.Warn("a stage that does not fit", "mac", mac, "stage", s.Stage, "err", err)
		}
	}
	h.reg.Event(e)
}

// macOf is the machine that has an address, by its lease or reservation.
func (h *Head) macOf(ip netip.Addr) string {
	ip = ip.Unmap()
	if l, ok := h.reg.LeaseByIP(ip); ok && l.MAC != "" {
		return l.MAC
	}
	if rec, ok := h.reg.ByAddress(ip); ok {
		return rec.MAC
	}
	return ""
}

// dhcpMode is what was decided about DHCP, and why.
type dhcpMode struct {
	mu   sync.Mutex
	mode dhcp.Mode
	why  string
}

func (m *dhcpMode) set(mode dhcp.Mode, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mode, m.why = mode, why
}

func (m *dhcpMode) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mode == "" {
		return "off"
	}
	return string(m.mode) + ": " + m.why
}

// detectTime is how long other DHCP servers are listened for before this head serves: dnsmasq pings for 3 s before it
// offers a new address.
const detectTime = 4 * time.Second

// chooseDHCP decides what part of DHCP is ours. A second server on a network gives machines addresses that the first
// knows nothing of, so auto serves only where nobody else does.
func (h *Head) chooseDHCP(ctx context.Context) (dhcp.Mode, string, error) {
	switch h.cfg.DHCP {
	case DHCPServer:
		return dhcp.ModeServer, "as configured", nil
	case DHCPProxy:
		return dhcp.ModeProxy, "as configured", nil
	case DHCPOff:
		return dhcp.ModeOff, "as configured", nil
	}
	if server := h.cfg.LeasedFrom; server.IsValid() && !h.isHead(server) {
		return dhcp.ModeProxy, fmt.Sprintf("this head's own address comes from a DHCP server of the network, %s", server), nil
	}
	offers, err := dhcp.Detect(ctx, h.nic(), detectTime)
	if err != nil {
		return dhcp.ModeOff, "", fmt.Errorf("look for other DHCP servers: %w", err)
	}
	for _, o := range offers {
		if !o.Proxy && !h.isHead(o.Server) { // other heads give the same answers as this one
			return dhcp.ModeProxy, fmt.Sprintf("%s (%s) serves DHCP on this network", o.Server, o.MAC), nil
		}
	}
	return dhcp.ModeServer, "nobody else serves DHCP on this network", nil
}

func (h *Head) serveDHCP(ctx context.Context) error {
	mode, why, err := h.chooseDHCP(ctx)
	if err != nil {
		return err
	}
	h.dhcpMode.set(mode, why)
	h.log.Info("dhcp", "mode", mode, "why", why)
	if mode == dhcp.ModeOff {
		<-ctx.Done()
		return ctx.Err()
	}
	db := leases{h.reg, h.taken}
	s, err := dhcp.New(h.dhcpConfig(mode), db, db)
	if err != nil {
		return err
	}
	s.Event = h.dhcpEvent
	return s.Run(ctx)
}

func (h *Head) dhcpConfig(mode dhcp.Mode) dhcp.Config {
	return dhcp.Config{
		Interface: h.nic(), Mode: mode, Address: h.cfg.Address, Pool: h.cfg.Pool, Authoritative: mode == dhcp.ModeServer,
		Router: h.cfg.Router, DNS: h.cfg.DNS, Domain: h.cfg.Domain, NTP: h.cfg.NTP, Heads: h.servers,
		HTTPBase: plainURL(h.cfg.Address.Addr(), h.cfg.HTTP),
		Relayed:  h.cfg.Relayed, Signed: h.signedLoader,
	}
}

// plainURL is a head's port for firmware as machines reach it.
func plainURL(address netip.Addr, port uint16) string {
	if port != wire.PortHTTP {
		return fmt.Sprintf("http://%s:%d", address, port)
	}
	return "http://" + address.String()
}

// dhcpEvent makes a stage of a DHCP exchange. Only firmware's and iPXE's count, which say their architecture: that of
// Linux is a part of a later stage.
func (h *Head) dhcpEvent(e dhcp.Event) {
	mac := macText(e.MAC)
	text := string(e.Kind)
	if e.IP.IsValid() {
		text += " " + e.IP.String()
	}
	for _, part := range []string{e.Arch, e.UserClass, e.Detail} {
		if part != "" {
			text += ", " + part
		}
	}
	stage := wire.StageResult{Stage: wire.StageDHCP, Time: e.Time.UTC(), Detail: text, Outcome: dhcpOutcome(e.Kind)}
	event := wire.Event{Time: e.Time, Kind: "dhcp", MAC: mac, Text: text, Failed: stage.Outcome == wire.OutcomeFailed}
	if stage.Outcome == wire.OutcomeFailed {
		stage.Cause = text
	}
	if e.Arch == "" || stage.Outcome == "" || h.isHeadMAC(mac) {
		mac = "" // another head that looks for DHCP servers asks like firmware does, and boots nothing
	}
	h.observe(mac, stage, event)
}

// dhcpOutcome is what a step of the exchange makes of the stage; empty: nothing. An offer ends it only where that is all
// that a machine gets from us, which an acknowledgement corrects.
func dhcpOutcome(k dhcp.Kind) wire.Outcome {
	switch k {
	case dhcp.KindDiscover:
		return wire.OutcomeRunning
	case dhcp.KindOffer, dhcp.KindAck, dhcp.KindInform:
		return wire.OutcomeDone
	case dhcp.KindNak, dhcp.KindConflict, dhcp.KindExhausted, dhcp.KindFailed:
		return wire.OutcomeFailed
	}
	return ""
}

func parseMAC(s string) dhcp.MAC {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return dhcp.MAC{}
	}
	mac, _ := dhcp.MACFrom(hw)
	return mac
}
