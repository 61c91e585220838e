package httpboot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

const macA = "52:54:00:aa:bb:01"

// head is a Handler with one image, on a plain port.
type head struct {
	*Handler
	store             *images.Store
	image             images.Digest
	kernel, initramfs []byte
	base              string

	mu      sync.Mutex
	fetches []Fetch
	damaged []string
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// putImage stores an image whose kernel is of 300,000 bytes and initramfs of 3,000,000, and gives its digest.
func putImage(t testing.TB, store *images.Store, kernel, initramfs []byte) images.Digest {
	t.Helper()
	blob := func(b []byte) images.Blob {
		t.Helper()
		out, err := store.PutBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	chunk := blob([]byte("chunk"))
	d, err := store.PutManifest(images.Manifest{
		Format: images.ManifestFormat, Name: "worker", Role: images.RoleWorker, Arch: "amd64", KernelRelease: "6.1",
		Kernel: blob(kernel), Initramfs: blob(initramfs), Cmdline: "quiet",
		Root: images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{images.Chunk(chunk)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newHead(t *testing.T) *head {
	t.Helper()
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &head{store: store, kernel: noise(300_000), initramfs: noise(3_000_000)}
	h.image = putImage(t, store, h.kernel, h.initramfs)
	loader, err := store.PutBytes([]byte("loader"))
	if err != nil {
		t.Fatal(err)
	}
	h.Handler, err = New(Config{
		Blobs: store,
		Target: func(_ context.Context, q Query) (Machine, error) {
			if q.MAC != macA {
				return Machine{}, &Notice{Reason: "unknown machine", Fix: "masthead node approve x"}
			}
			return Machine{Name: "n01", Image: h.image, Boot: images.Boot{Role: images.RoleWorker}}, nil
		},
		Loader: func(name string) (images.Digest, bool) { return loader.Digest, name == "snponly.efi" },
		Fetched: func(f Fetch) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.fetches = append(h.fetches, f)
		},
		Damaged: func(e *DamagedError) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.damaged = append(h.damaged, e.Error())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	h.base = start(t, h.Handler)
	return h
}

// ended gives what Fetched was told, once the last fetch has ended: a client may have all of a body before the server
// says so.
func (h *head) ended(t *testing.T) (all []Fetch) {
	t.Helper()
	waitUntil(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		all = append([]Fetch(nil), h.fetches...)
		return len(all) > 0 && all[len(all)-1].Ended
	})
	return all
}

func (h *head) last(t *testing.T) Fetch {
	t.Helper()
	all := h.ended(t)
	return all[len(all)-1]
}

// start serves on the kind of port that a head has, and gives its URL.
func start(t testing.TB, handler http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Server(handler)
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(Listener(l)) }()
	t.Cleanup(func() { s.Close(); <-done })
	return "http://" + l.Addr().String()
}

func get(t testing.TB, method, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestBootOverHTTP(t *testing.T) {
	h := newHead(t)
	resp, script := get(t, "GET", h.base+"/boot/script?mac=52-54-00-AA-BB-01")
	if resp.StatusCode != 200 || !bytes.HasPrefix(script, []byte("#!ipxe\n")) {
		t.Fatalf("script: %s\n%s", resp.Status, script)
	}
	h.ended(t)
	var urls []string
	for _, line := range strings.Split(string(script), "\n") {
		if words, _ := ipxe(line); len(words) > 5 && (words[0] == "kernel" || words[0] == "initrd") {
			urls = append(urls, words[5])
		}
	}
	want := [][]byte{h.kernel, h.initramfs}
	for round := range 2 { // the second from files that are open
		for i, u := range urls {
			resp, got := get(t, "GET", u)
			h.ended(t) // so that the order below is that of the requests
			if resp.StatusCode != 200 || !bytes.Equal(got, want[i]) {
				t.Errorf("round %d: %s: %s, %d bytes", round, u, resp.Status, len(got))
			}
			if tag := resp.Header.Get("ETag"); tag != `"`+string(images.DigestOf(want[i]))+`"` {
				t.Errorf("ETag %s", tag)
			}
		}
	}
	if resp, body := get(t, "GET", h.base+"/boot/snponly.efi"); resp.StatusCode != 200 || string(body) != "loader" {
		t.Errorf("loader: %s %s", resp.Status, body)
	}
	var got []string
	for _, f := range append(h.ended(t)[:6:6], h.last(t)) {
		got = append(got, fmt.Sprintf("%s %s %s ended %t whole %t %d %s", f.Stage, f.MAC, f.Remote, f.Ended, f.Whole, f.Bytes, f.Cause))
	}
	wantFetches := []string{
		"script 52:54:00:aa:bb:01 127.0.0.1 ended false whole false 0 ",
		fmt.Sprintf("script 52:54:00:aa:bb:01 127.0.0.1 ended true whole true %d ", len(script)),
		"kernel 52:54:00:aa:bb:01 127.0.0.1 ended false whole false 0 ",
		"kernel 52:54:00:aa:bb:01 127.0.0.1 ended true whole true 300000 ",
		"initramfs 52:54:00:aa:bb:01 127.0.0.1 ended false whole false 0 ",
		"initramfs 52:54:00:aa:bb:01 127.0.0.1 ended true whole true 3000000 ",
		"tftp  127.0.0.1 ended true whole true 6 ",
	}
	if diff := cmp.Diff(wantFetches, got); diff != "" {
		t.Error(diff)
	}
	if n := h.Counters().Requests.Load(); n != 6 {
		t.Errorf("%d requests counted, want 6", n)
	}
}

func TestScripts(t *testing.T) {
	h := newHead(t)
	for _, tc := range []struct{ query, want string }{
		{"", "mac=${netX/mac}"},
		{"?mac=", "names no MAC address"},
		{"?mac=nonsense", "names no MAC address"},
		{"?mac=52:54:00:00:00:99", "nothing to boot for 52:54:00:00:00:99: unknown machine"},
		{"?mac=52:54:00:00:00:99", "type: masthead node approve x"},
		{"?mac=" + macA, "kernel --timeout 10000 --name vmlinuz http://127.0.0.1:"},
	} {
		resp, body := get(t, "GET", h.base+"/boot/script"+tc.query)
		if resp.StatusCode != 200 || !strings.HasPrefix(string(body), "#!ipxe\n") || !strings.Contains(string(body), tc.want) {
			t.Errorf("%s: %s, want %q:\n%s", tc.query, resp.Status, tc.want, body)
		}
	}
	h.image = images.DigestOf([]byte("an image that was removed"))
	if _, body := get(t, "GET", h.base+"/boot/script?mac="+macA); !strings.Contains(string(body), "not found") {
		t.Errorf("an image that is not there:\n%s", body)
	}
	last := h.last(t)
	if last.Whole || !strings.Contains(last.Cause, "not found") {
		t.Errorf("the last fetch says %+v", last)
	}
}

func TestRangesAndConditions(t *testing.T) {
	h := newHead(t)
	u := h.base + "/boot/" + h.image.Hex() + "/initramfs"
	resp, body := get(t, "HEAD", u)
	if resp.StatusCode != 200 || resp.ContentLength != 3_000_000 || len(body) != 0 {
		t.Errorf("HEAD: %s, %d", resp.Status, resp.ContentLength)
	}
	resp, body = get(t, "GET", u, "Range", "bytes=1000000-")
	if resp.StatusCode != 206 || !bytes.Equal(body, h.initramfs[1_000_000:]) {
		t.Errorf("Range: %s, %d bytes", resp.Status, len(body))
	}
	if last := h.last(t); !last.Whole || last.Bytes != 2_000_000 {
		t.Errorf("a resumed fetch: %+v", last)
	}
	resp, body = get(t, "GET", u, "Range", "bytes=0-9")
	if resp.StatusCode != 206 || !bytes.Equal(body, h.initramfs[:10]) {
		t.Errorf("Range: %s, %d bytes", resp.Status, len(body))
	}
	if last := h.last(t); last.Whole {
		t.Errorf("the first ten bytes are not the whole: %+v", last)
	}
	if resp, _ := get(t, "GET", u, "Range", "bytes=3000000-"); resp.StatusCode != 416 {
		t.Errorf("a range beyond the end: %s", resp.Status)
	}
	if resp, body := get(t, "GET", u, "If-None-Match", `"`+string(images.DigestOf(h.initramfs))+`"`); resp.StatusCode != 304 || len(body) != 0 {
		t.Errorf("If-None-Match: %s", resp.Status)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		if resp, _ := get(t, method, u); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
}

// Requests are sent byte for byte: a client library would clean the paths.
func TestPathTricks(t *testing.T) {
	h := newHead(t)
	if err := os.WriteFile(filepath.Join(h.store.Dir(), "secret"), []byte("SECRET"), 0o644); err != nil {
		t.Fatal(err)
	}
	hex := h.image.Hex()
	kernel := images.DigestOf(h.kernel)
	for _, path := range []string{
		"/", "/boot", "/boot/", "/boot//", "/boot/.", "/boot/..", "/boot/../secret", "/boot/%2e%2e/secret", "/boot/..%2fsecret",
		"/boot/%2e%2e%2fsecret", "/boot/....//secret", "/boot/..\\secret", "/boot/snponly.efi/", "/boot/snponly.efi/../secret",
		"/boot/./snponly.efi", "//boot/snponly.efi", "/boot/snponly%2eefi", "/boot/snponly.efi%00", "/BOOT/snponly.efi", "/boot/other.efi",
		"/boot/" + hex, "/boot/" + hex + "/", "/boot/" + hex + "/vmlinuz/", "/boot/" + hex + "/../" + hex + "/vmlinuz", "/boot/" + hex + "/manifest",
		"/boot/" + hex[:63] + "/vmlinuz", "/boot/" + strings.ToUpper(hex) + "/vmlinuz", "/boot/" + hex + "//vmlinuz",
		"/boot/" + kernel.Hex() + "/vmlinuz", "/boot/" + strings.Repeat("0", 64) + "/vmlinuz", "/api/v1/nodes", "/tags/worker", "/blobs/" + hex[:2] + "/" + hex,
		"/boot/script/", "/boot/script/x", "*", "http://other/etc/passwd",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: head\r\nConnection: close\r\n\r\n", path)
		answer, err := io.ReadAll(conn)
		conn.Close()
		status, _, _ := strings.Cut(string(answer), "\r\n")
		ok := strings.Contains(status, " 404 ") || strings.Contains(status, " 400 ") || strings.Contains(status, " 500 ") && path == "/boot/"+kernel.Hex()+"/vmlinuz"
		if err != nil || !ok || bytes.Contains(answer, []byte("SECRET")) || len(answer) > 1000 {
			t.Errorf("GET %s: %s, %d bytes, %v", path, status, len(answer), err)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	hex := strings.Repeat("ab", 32)
	for _, s := range []string{"/boot/script", "/boot/x.efi", "/boot/" + hex + "/vmlinuz", "/boot/../x", "/boot/%2e%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		got := parsePath(&http.Request{URL: u})
		want := ""
		switch got.kind {
		case kindNone:
			return
		case kindScript:
			want = "/boot/script"
		case kindLoader:
			want = "/boot/" + got.name
			if strings.ContainsAny(got.name, "/\\%\x00") || strings.HasPrefix(got.name, ".") {
				t.Fatalf("loader %q", got.name)
			}
		case kindKernel:
			want = "/boot/" + got.image.Hex() + "/vmlinuz"
		case kindInitramfs:
			want = "/boot/" + got.image.Hex() + "/initramfs"
		}
		if u.Path != want && u.Path != strings.Replace(want, "/boot/", "/boot/sha256:", 1) {
			t.Fatalf("%q is taken for %q", u.Path, want)
		}
	})
}

func blobPath(h *head, d images.Digest) string {
	return filepath.Join(h.store.Dir(), "blobs", d.Hex()[:2], d.Hex())
}

func TestDamagedBlobIsNotServed(t *testing.T) {
	h := newHead(t)
	d := images.DigestOf(h.kernel)
	u := h.base + "/boot/" + h.image.Hex() + "/vmlinuz"
	bad := bytes.Clone(h.kernel)
	bad[77] ^= 1
	if err := os.WriteFile(blobPath(h, d), bad, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		resp, body := get(t, "GET", u)
		var p wire.Problem
		if err := json.Unmarshal(body, &p); err != nil || resp.StatusCode != 500 || !strings.Contains(p.Detail, string(d)) || p.Try == "" {
			t.Errorf("a damaged blob: %s %s", resp.Status, body)
		}
	}
	if len(h.damaged) != 1 || !strings.Contains(h.damaged[0], string(d)) || h.Counters().Damaged.Load() != 3 {
		t.Errorf("told %q, counted %d", h.damaged, h.Counters().Damaged.Load())
	}
	if last := h.last(t); !last.Ended || last.Whole || !strings.Contains(last.Cause, "damaged") {
		t.Errorf("the fetch says %+v", last)
	}
	if err := h.Check(h.image); err == nil {
		t.Error("Check finds nothing")
	}
	if err := os.Remove(blobPath(h, d)); err != nil {
		t.Fatal(err)
	}
	if resp, body := get(t, "GET", u); resp.StatusCode != 404 || !strings.Contains(string(body), string(d)) {
		t.Errorf("a missing blob: %s %s", resp.Status, body)
	}
	if _, err := h.store.PutBytes(h.kernel); err != nil {
		t.Fatal(err)
	}
	if resp, body := get(t, "GET", u); resp.StatusCode != 200 || !bytes.Equal(body, h.kernel) {
		t.Errorf("after the repair: %s", resp.Status)
	}
	if err := h.Check(h.image); err != nil {
		t.Error(err)
	}
}

// A file that shrinks while it is sent must not look whole.
func TestShrinkingFile(t *testing.T) {
	h := newHead(t)
	u := h.base + "/boot/" + h.image.Hex() + "/initramfs"
	get(t, "GET", u) // verified and open
	if err := os.Truncate(blobPath(h, images.DigestOf(h.initramfs)), 1000); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%d bytes of 3,000,000 came without an error", len(body))
	}
	http.DefaultClient.CloseIdleConnections()
	if last := h.last(t); last.Whole || !strings.Contains(last.Cause, "cut off after 1000 of 3000000 bytes") {
		t.Errorf("the fetch says %+v", last)
	}
}

// A machine that is reset in the middle of its initramfs has not got it.
func TestCutOff(t *testing.T) {
	h := newHead(t)
	h.image = putImage(t, h.store, h.kernel, noise(32<<20)) // more than all socket buffers hold
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprintf(conn, "GET /boot/%s/initramfs?mac=%s HTTP/1.1\r\nHost: head\r\n\r\n", h.image.Hex(), macA)
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	if last := h.last(t); last.Whole || !strings.Contains(last.Cause, "cut off after") {
		t.Errorf("the fetch says %+v", last)
	}
	if h.Counters().Broken.Load() != 1 {
		t.Errorf("%d broken", h.Counters().Broken.Load())
	}
}

// waitUntil waits for what another goroutine does after the connection has ended, which nothing else tells.
func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

func TestManyClients(t *testing.T) {
	h := newHead(t)
	u := h.base + "/boot/" + h.image.Hex() + "/"
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for j := range 8 {
				name, want := "vmlinuz", h.kernel
				if (i+j)%4 == 0 {
					name, want = "initramfs", h.initramfs
				}
				resp, err := client.Get(u + name)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(body, want) {
					t.Errorf("%s: %d bytes, %v", name, len(body), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestBlobs(t *testing.T) {
	h := newHead(t)
	token := "good"
	handler := h.Blobs(func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+token })
	secure := httptest.NewUnstartedServer(handler)
	secure.StartTLS()
	defer secure.Close()
	client := secure.Client()
	for _, base := range []string{start(t, handler), secure.URL} {
		for _, tc := range []struct {
			path, auth string
			status     int
			body       []byte
		}{
			{wire.PathBlob + string(images.DigestOf(h.kernel)), "Bearer good", 200, h.kernel},
			{wire.PathBlob + string(images.DigestOf(h.kernel)), "Bearer good", 200, h.kernel},
			{wire.PathBlob + string(images.DigestOf(h.kernel)), "Bearer bad", 401, nil},
			{wire.PathBlob + string(images.DigestOf(h.kernel)), "", 401, nil},
			{wire.PathBlob + string(images.DigestOf(nil)), "Bearer good", 404, nil},
			{wire.PathBlob + "sha256:xyz", "Bearer good", 404, nil},
			{wire.PathBlob + "..%2f..%2ftags/worker", "Bearer good", 404, nil},
		} {
			req, err := http.NewRequest("GET", base+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", tc.auth)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != tc.status || (tc.body != nil && !bytes.Equal(body, tc.body)) {
				t.Errorf("%s%s: %s, %d bytes, %v; want %d", base, tc.path, resp.Status, len(body), err, tc.status)
			}
		}
	}
	client.CloseIdleConnections()
}

// An ISO's pack serves as well as a store.
func TestPack(t *testing.T) {
	h := newHead(t)
	plan, err := images.PlanPack(h.store, map[string]images.Digest{"worker": h.image})
	if err != nil {
		t.Fatal(err)
	}
	r, err := plan.Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	r.Close()
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, h.kernel)
	pack := func() *images.Pack {
		p, err := images.OpenPack(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	serve := func() string {
		fromPack, err := New(Config{Blobs: pack(), Target: func(context.Context, Query) (Machine, error) { return Machine{}, errors.New("none") }})
		if err != nil {
			t.Fatal(err)
		}
		return start(t, fromPack) + "/boot/" + h.image.Hex() + "/vmlinuz"
	}
	u := serve()
	for range 2 {
		if resp, body := get(t, "GET", u, "Range", "bytes=5-"); resp.StatusCode != 200 || !bytes.Equal(body, h.kernel) {
			t.Errorf("from a pack: %s, %d bytes", resp.Status, len(body))
		}
	}
	data[at+5] ^= 1
	if resp, _ := get(t, "GET", serve()); resp.StatusCode != 500 {
		t.Errorf("from a damaged pack: %s", resp.Status)
	}
}

func TestFileCache(t *testing.T) {
	now := time.Unix(0, 0)
	c := newFileCache(func() time.Time { return now })
	defer c.close()
	open := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	closed := func(f *openFile) bool { _, err := f.file.Stat(); return errors.Is(err, os.ErrClosed) }
	d := images.DigestOf(nil)
	a := c.add(d, open(), 1)
	if b := c.get(d); b != a {
		t.Error("the file is not found again")
	} else {
		c.release(b)
	}
	twin := c.add(d, open(), 1)
	c.release(twin)
	if !closed(twin) {
		t.Error("a second file of the same blob stays open")
	}
	now = now.Add(keepOpen + 1)
	if b := c.get(d); b != nil {
		t.Error("an old file is given out")
	}
	if closed(a) {
		t.Error("a file in use was closed")
	}
	c.release(a)
	if !closed(a) {
		t.Error("nobody uses it, and it is open")
	}
	e := c.add(d, open(), 1)
	c.release(e)
	now = now.Add(keepOpen)
	c.expire()
	if !closed(e) || len(c.files) != 0 {
		t.Error("an old file was not closed")
	}
}
