package tools

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"time"
)

func network() []Tool {
	return []Tool{
		own("ip", "addr|link|route [show|add|del|set ...]", "show and change addresses, links and routes", "+46", ip),
		own("ping", "[-c COUNT] [-W SECONDS] HOST", "see whether a host answers", "c:W:", ping),
		own("wget", "[-q] [-O FILE] [-T SECONDS] URL", "fetch a file by HTTP; --no-check-certificate: from anybody",
			"qO:T: no-check-certificate", wget),
	}
}

func wget(c *call) error {
	if len(c.args) != 1 {
		return errUsage
	}
	u, err := url.Parse(c.args[0])
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%q: want http://HOST/PATH: %w", c.args[0], errUsage)
	}
	seconds, err := c.number("T", 30)
	if err != nil {
		return err
	}
	name := path.Base(u.Path)
	if name == "/" || name == "." {
		name = "index.html"
	}
	name = c.value("O", name)

	wait := time.Duration(seconds) * time.Second
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: wait}).DialContext,
		ResponseHeaderTimeout: wait,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: c.has("no-check-certificate")},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", u, resp.Status)
	}
	began := time.Now()
	n, err := save(c, name, resp.Body)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", u, err)
	}
	if !c.has("q") && name != "-" {
		fmt.Fprintf(c.Err, "%s: %d bytes in %v\n", name, n, time.Since(began).Round(time.Millisecond))
	}
	return nil
}

// save leaves no half a file behind.
func save(c *call, name string, r io.Reader) (int64, error) {
	if name == "-" {
		return io.Copy(c.Out, r)
	}
	f, err := os.Create(c.path(name))
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(c.path(name))
	}
	return n, err
}

// ping sends ICMP echo requests (RFC 792) once a second. It exits with 1 if none was answered.
func ping(c *call) error {
	if len(c.args) != 1 {
		return errUsage
	}
	count, err := c.number("c", 0)
	if err != nil {
		return err
	}
	wait, err := c.number("W", 1)
	if err != nil {
		return err
	}
	to, err := net.ResolveIPAddr("ip4", c.args[0])
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("ip4:icmp", "")
	if err != nil {
		return err
	}
	defer conn.Close()
	id := uint16(os.Getpid())
	c.printf("ping %s (%s)\n", c.args[0], to)
	answered := 0
	for seq := 1; (count == 0 || seq <= count) && c.ctx.Err() == nil; seq++ {
		sent := time.Now()
		if _, err := conn.WriteTo(echo(id, uint16(seq), make([]byte, 48)), to); err != nil {
			fmt.Fprintf(c.Err, "ping: %v\n", err)
		} else if from, ok := await(conn, id, uint16(seq), sent.Add(time.Duration(wait)*time.Second)); ok {
			answered++
			c.printf("%s: %d in %.3f ms\n", from, seq, time.Since(sent).Seconds()*1e3)
		} else {
			c.printf("%s: %d: no answer\n", to, seq)
		}
		if count == 0 || seq < count {
			t := time.NewTimer(time.Until(sent.Add(time.Second)))
			select {
			case <-t.C:
			case <-c.ctx.Done():
				t.Stop()
			}
		}
	}
	if answered == 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

// echo is an ICMP echo request.
func echo(id, seq uint16, data []byte) []byte {
	b := append([]byte{8, 0, 0, 0, 0, 0, 0, 0}, data...)
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// checksum is the Internet's (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func await(conn net.PacketConn, id, seq uint16, until time.Time) (netip.Addr, bool) {
	conn.SetReadDeadline(until)
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return netip.Addr{}, false
		}
		if n >= 8 && buf[0] == 0 && binary.BigEndian.Uint16(buf[4:]) == id && binary.BigEndian.Uint16(buf[6:]) == seq {
			addr, _ := netip.ParseAddr(from.String())
			return addr, true
		}
	}
}
