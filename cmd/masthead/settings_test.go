package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance"
	"masthead/appliance/pki"
)

// startHead runs a head without a network and gives the flags that lead to it.
func startHead(t *testing.T) []string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cfg := appliance.DefaultConfig()
	cfg.Name, cfg.StateDir, cfg.Socket = "head1", t.TempDir(), ""
	cfg.HTTP, cfg.HTTPS = 0, uint16(port)
	h, err := appliance.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		h.Close()
	})
	keys := filepath.Join(cfg.StateDir, "pki")
	ca, err := pki.OpenAuthority(keys, "masthead")
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	return []string{"--head", "https://" + address, "--ca", string(ca.Digest()), "--token-file", filepath.Join(keys, "admin.token")}
}

func TestHeadSettings(t *testing.T) {
	to := startHead(t)
	fresh := "auto-approve   false\nname-pattern   n%02d\ndefault-image  - (the only worker image, if there is one)\nforwarders     - (those of each head's machine)\n"
	for _, tc := range []struct{ args, want, err string }{
		{args: "", want: fresh},
		{args: "--auto-approve --dry-run", want: "settings: would change\n  auto-approve: false -> true\n"},
		{args: "", want: fresh},
		{args: "--auto-approve=true --name-pattern c%d", want: "settings: changed\n  auto-approve: false -> true\n  name-pattern: n%02d -> c%d\n"},
		{args: "--auto-approve=true", want: "settings: nothing to change\n"},
		{args: "--auto-approve=false -o json", want: `{"settings":{"auto_approve":false,"name_pattern":"c%d","default_image":"","forwarders":""},"diff":[{"field":"auto-approve","old":"true","new":"false"}],"applied":true}`},
		{args: "-o json", want: `{"auto_approve":false,"name_pattern":"c%d","default_image":"","forwarders":""}`},
		{args: "--forwarders 192.0.2.54,192.0.2.53", want: "settings: changed\n  forwarders: - -> 192.0.2.54,192.0.2.53\n"},
		{args: "--forwarders dns.example", err: `forwarders "dns.example": dns.example is not the address of a resolver`},
		{args: "--forwarders=", want: "settings: changed\n  forwarders: 192.0.2.54,192.0.2.53 -> -\n"},
		{args: "--default-image nosuch", err: `default-image "nosuch": no such image`},
		{args: "--name-pattern x", err: "want a host name with one number in it"},
	} {
		var out, errs bytes.Buffer
		args := append(append([]string{"head", "settings"}, to...), strings.Fields(tc.args)...)
		err := run(t.Context(), args, strings.NewReader(""), &out, &errs)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: %v, want error %q", tc.args, err, tc.err)
			}
			continue
		}
		got := out.String()
		if strings.Contains(tc.args, "json") {
			got = strings.Join(strings.Fields(got), "")
		}
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tc.args, err, diff)
		}
	}
}
