package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFirstAnswering(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after map[string]time.Duration // that a head takes to answer; 0: never
		want  string
		limit time.Duration
	}{
		{"all answer", map[string]time.Duration{"a": 1, "b": 1}, "a", 0},
		{"the first is dead", map[string]time.Duration{"b": 1}, "b", knock},
		{"the first is busy, and the last starts", map[string]time.Duration{"a": 2 * time.Second}, "a", 2*knock + 2*time.Second},
		{"the last is busy", map[string]time.Duration{"b": 2 * time.Second}, "b", 2*knock + 2*time.Second},
		{"none answers", nil, "b", 2*knock + patience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got := firstAnswering([]string{"a", "b"}, func(ctx context.Context, u string) bool {
					answer := make(<-chan time.Time)
					if d := tt.after[u]; d > 0 {
						answer = time.After(d)
					}
					select {
					case <-ctx.Done():
						return false
					case <-answer:
						return true
					}
				})
				if took := time.Since(began).Truncate(time.Millisecond); got != tt.want || took > tt.limit {
					t.Errorf("got %s after %v, want %s within %v", got, took, tt.want, tt.limit)
				}
			})
		})
	}
}

// TestUnreachableHeads: whatever is wrong with a connection, there is something to type.
func TestUnreachableHeads(t *testing.T) {
	silent := func(handle func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		t.Cleanup(func() { _ = l.Close(); all.Wait() })
		all.Go(func() { // ends with the listener
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				handle(c)
				_ = c.Close()
			}
		})
		return "https://" + l.Addr().String()
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := httptest.NewTLSServer(nil)
	other.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer other.Close()
	ca := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct{ name, url, want, try string }{
		{"it hangs up", silent(func(net.Conn) {}), "", "ssh root@127.0.0.1 systemctl status masthead-head"},
		{"it speaks something else", silent(func(c net.Conn) { _, _ = c.Write([]byte("220 ESMTP\r\n")) }), "", "ssh root@127.0.0.1 systemctl status masthead-head"},
		{"nobody listens", "https://127.0.0.1:1", "connection refused", "ssh root@127.0.0.1 systemctl status masthead-head"},
		{"another cluster", other.URL, "do not hold the pinned CA", "ssh root@127.0.0.1 masthead status"},
	} {
		_, stderr, code := invoke(t, "--head", tt.url, "--ca", ca, "--token-file", token, "node", "list")
		if code != exitFailed || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, "\ntry: "+tt.try) {
			t.Errorf("%s: exit code %d: %s", tt.name, code, stderr)
		}
	}
}
