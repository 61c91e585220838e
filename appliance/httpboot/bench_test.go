package httpboot

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest/prerequisite"
)

// What a worker fetches: the chunks of a Debian root of 300 MB.
const (
	benchChunks  = 1200
	benchSize    = 80 << 10 // about
	benchClients = 8        // connections at once, as many as a root device opens
)

// serveForBench is what BenchmarkChunks runs as a process of its own, as nginx is one.
func serveForBench(dir string) int {
	store, err := images.OpenStore(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	h, err := New(Config{Blobs: store, Target: func(context.Context, Query) (Machine, error) { return Machine{}, nil }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(l.Addr())
	s := Server(h.Blobs(func(*http.Request) bool { return true }))
	go func() {
		io.Copy(io.Discard, os.Stdin) // until the benchmark ends
		s.Close()
	}()
	s.Serve(Listener(l))
	return 0
}

func benchStore(b *testing.B) (dir string, digests []images.Digest) {
	b.Helper()
	dir = b.TempDir()
	store, err := images.OpenStore(dir)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.NewChaCha8([32]byte{1})
	for i := range benchChunks {
		chunk := make([]byte, benchSize-16<<10+i*27)
		rng.Read(chunk)
		blob, err := store.PutBytes(chunk)
		if err != nil {
			b.Fatal(err)
		}
		digests = append(digests, blob.Digest)
	}
	return dir, digests
}

func startOurs(b *testing.B, dir string) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HTTPBOOT_BENCH_STORE="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// startNginx serves the same files as nginx is best at it: sendfile, headers and body in the same packet, open files
// remembered, no log.
func startNginx(b *testing.B, dir string) string {
	b.Helper()
	nginx := prerequisite.Program(b, "nginx")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	tmp := b.TempDir()
	conf := fmt.Sprintf(`daemon off; master_process on; worker_processes 2; pid %[1]s/pid; error_log stderr crit; user root;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600;
  open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s; default_type application/octet-stream;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen %[2]s; root %[3]s; }
}`, tmp, addr, filepath.Join(dir, "blobs"))
	path := filepath.Join(tmp, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(nginx, "-p", tmp, "-c", path)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			b.Fatal("nginx does not answer: ", err)
		}
		time.Sleep(10 * time.Millisecond) // nothing tells when it listens
	}
}

// fetchAll gets every chunk once, over benchClients connections that stay open, and gives the bytes of the bodies.
// The client does as little as it can, so that the servers are compared and not the client.
func fetchAll(b *testing.B, conns []net.Conn, paths []string) int64 {
	var total int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			n, err := fetchSome(conn, paths, i, len(conns))
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
		})
	}
	wg.Wait()
	return total
}

func fetchSome(conn net.Conn, paths []string, first, step int) (total int64, err error) {
	buf := make([]byte, 256<<10)
	for i := first; i < len(paths); i += step {
		if _, err := io.WriteString(conn, "GET "+paths[i]+" HTTP/1.1\r\nHost: head\r\n\r\n"); err != nil {
			return total, err
		}
		have, bodyAt := 0, -1
		for bodyAt < 0 {
			n, err := conn.Read(buf[have:])
			if err != nil {
				return total, err
			}
			have += n
			if at := bytes.Index(buf[:have], []byte("\r\n\r\n")); at >= 0 {
				bodyAt = at + 4
			}
		}
		head := string(buf[:bodyAt])
		if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
			return total, fmt.Errorf("%s: %s", paths[i], head)
		}
		_, rest, _ := strings.Cut(head, "Content-Length: ")
		length, _, _ := strings.Cut(rest, "\r\n")
		size, err := strconv.ParseInt(length, 10, 64)
		if err != nil {
			return total, err
		}
		total += size
		for left := size - int64(have-bodyAt); left > 0; {
			n, err := conn.Read(buf[:min(left, int64(len(buf)))])
			if err != nil {
				return total, err
			}
			left -= int64(n)
		}
	}
	return total, nil
}

func dialAll(b *testing.B, addr string) (conns []net.Conn) {
	b.Helper()
	for range benchClients {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		conns = append(conns, c)
	}
	return conns
}

// BenchmarkChunks serves the chunks of a root to one client, in turn with nginx, and reports how many times as fast as
// nginx it is.
func BenchmarkChunks(b *testing.B) {
	dir, digests := benchStore(b)
	oursAddr, nginxAddr := startOurs(b, dir), startNginx(b, dir)
	ours, nginx := dialAll(b, oursAddr), dialAll(b, nginxAddr)
	var oursPaths, nginxPaths []string
	for _, d := range digests {
		oursPaths = append(oursPaths, wire.PathBlob+string(d))
		nginxPaths = append(nginxPaths, "/"+d.Hex()[:2]+"/"+d.Hex())
	}
	want := fetchAll(b, nginx, nginxPaths) // both warm: the files in the page cache, our blobs verified
	if got := fetchAll(b, ours, oursPaths); got != want || b.Failed() {
		b.Fatalf("%d bytes, nginx sends %d", got, want)
	}
	var oursTime, nginxTime time.Duration
	for b.Loop() {
		start := time.Now()
		fetchAll(b, nginx, nginxPaths)
		middle := time.Now()
		fetchAll(b, ours, oursPaths)
		nginxTime += middle.Sub(start)
		oursTime += time.Since(middle)
	}
	b.ReportMetric(nginxTime.Seconds()/oursTime.Seconds(), "x_nginx")
	b.ReportMetric(float64(want)*float64(b.N)/oursTime.Seconds()/1e6, "MB/s")
	b.ReportMetric(float64(want)*float64(b.N)/nginxTime.Seconds()/1e6, "nginx_MB/s")
}
