package command

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"masthead/node/wire"
)

// fleet attaches n fake agents to d over TLS and HTTP, as real ones do.
func fleet(tb testing.TB, d *Dispatcher, n int) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			tb.Error(err)
			return
		}
		all.Add(1)
		defer all.Done()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+wire.ChannelProtocol+"\r\n\r\n")
		_ = d.Attach(r.Header.Get("MAC"), "", conn, buf.Reader)
	})}
	all.Go(func() { _ = srv.Serve(l) })
	tb.Cleanup(func() { stop(); srv.Close(); all.Wait() })
	for i := range n {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nMAC: "+mac(i+1)+"\r\n\r\n"); err != nil {
			tb.Fatal(err)
		}
		in := bufio.NewReaderSize(conn, 512)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			tb.Fatal(resp, err)
		}
		all.Go(func() {
			defer conn.Close()
			for {
				f, err := wire.ReadFrame(in, wire.MaxHeadFrame)
				if err != nil {
					return
				}
				if f.Kind == wire.FrameRun {
					out := wire.Frame{Kind: wire.FrameOutput, ID: f.ID, Stdout: []byte("6.12.117+deb13-cloud-amd64\n")}
					end := wire.Frame{Kind: wire.FrameExit, ID: f.ID, Result: &wire.CommandResult{}}
					if wire.WriteFrame(conn, out) != nil || wire.WriteFrame(conn, end) != nil {
						return
					}
				}
			}
		})
	}
	for d.Count() < n {
		time.Sleep(time.Millisecond)
	}
}

// A thousand nodes, over TLS, all within one run.
func TestThousandNodes(t *testing.T) {
	d := New(Config{Head: "h1"})
	const n = 1000
	fleet(t, d, n)
	var got collected
	began := time.Now()
	if err := d.Run(t.Context(), targets(n), uname, nil, wire.DefaultFanout, got.emit); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, r := range got.done {
		if r.Failed() {
			failed++
		}
	}
	if len(got.done) != n || failed > 0 || len(got.doubled) > 0 {
		t.Errorf("%d results, %d failed, %d doubled", len(got.done), failed, len(got.doubled))
	}
	t.Logf("%d nodes in %v", n, time.Since(began).Round(time.Millisecond))
}

// BenchmarkExec1000 is one command on a thousand nodes, with all of their side in the same process.
func BenchmarkExec1000(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := New(Config{Head: "h1"})
	const n = 1000
	fleet(b, d, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
		var got collected
		if err := d.Run(b.Context(), targets(n), uname, nil, wire.DefaultFanout, got.emit); err != nil || len(got.done) != n {
			b.Fatal(err, len(got.done))
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "nodes/s")
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/n/1024, "KiB/node(both-sides)")
}
