package httpboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// Query is a machine that asks for its boot script.
type Query struct {
	MAC    string // lower case, with colons
	Remote netip.Addr
	Base   string // the head as the machine calls it: http://HOST[:PORT]
}

// Fetch is something that a machine loads. It is told of when it begins and when it ends.
type Fetch struct {
	Stage  wire.Stage // tftp (a first loader, which UEFI can fetch by HTTP), script, kernel or initramfs
	MAC    string     // empty: not known
	Remote netip.Addr
	Path   string
	Began  time.Time
	Ended  bool
	Took   time.Duration
	Bytes  int64 // sent
	Size   int64 // of the whole
	Whole  bool  // the machine has all of it
	Cause  string
}

// Config is what a Handler serves from.
type Config struct {
	Blobs images.BlobReader
	// Target says what a machine boots. Its error is shown on the machine's console, with Try if it has that; the
	// machine asks again after some seconds.
	Target func(context.Context, Query) (Machine, error)
	// Loader gives the first loader of that name; nil: there are none.
	Loader func(name string) (images.Digest, bool)
	// Fetched is told what machines load; nil: nobody is. It must not block.
	Fetched func(Fetch)
	// Damaged is told of each damaged blob once; nil: nobody is. It must not block.
	Damaged func(*DamagedError)
	Now     func() time.Time // nil is time.Now
}

// Handler answers the plain port: GET and HEAD below /boot/.
type Handler struct {
	conf     Config
	blobs    blobs
	counters Counters

	mu     sync.Mutex
	images map[images.Digest]files
}

// files are the parts of an image that are loaded over the plain port.
type files struct {
	kernel, initramfs images.Digest
	cmdline           string
}

// maxImages bounds the manifests that are remembered; a cluster boots a handful of images.
const maxImages = 256

// New makes a Handler.
func New(conf Config) (*Handler, error) {
	if conf.Blobs == nil || conf.Target == nil {
		return nil, errors.New("httpboot: no blobs, or nobody to say what a machine boots")
	}
	if conf.Now == nil {
		conf.Now = time.Now
	}
	h := &Handler{conf: conf, images: map[images.Digest]files{}}
	h.blobs = blobs{from: conf.Blobs, verifier: newVerifier(conf.Damaged), files: newFileCache(conf.Now), counters: &h.counters}
	return h, nil
}

// Close lets go of the files that are kept open. Requests under way go on.
func (h *Handler) Close() { h.blobs.files.close() }

// Counters is what was served so far, blobs over TLS too.
func (h *Handler) Counters() *Counters { return &h.counters }

// Check verifies kernel and initramfs of an image, so that the first machine that asks does not wait for it.
func (h *Handler) Check(image images.Digest) error {
	f, err := h.image(image)
	if err != nil {
		return err
	}
	for _, d := range []images.Digest{f.kernel, f.initramfs} {
		b, err := h.blobs.open(d)
		if err != nil {
			return fmt.Errorf("image %s: %w", image.Short(), err)
		}
		b.close()
	}
	return nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.counters.Requests.Add(1)
	if !readOnly(w, r, &h.counters) {
		return
	}
	t := parsePath(r)
	f := Fetch{MAC: macOf(r), Remote: remote(r), Path: r.URL.Path, Began: h.conf.Now()}
	switch t.kind {
	case kindScript:
		f.Stage = wire.StageScript
		h.follow(f, r, func() sent { return h.script(w, r, f) })
	case kindLoader:
		d, ok := images.Digest(""), false
		if h.conf.Loader != nil {
			d, ok = h.conf.Loader(t.name)
		}
		if !ok {
			h.missing(w, "no loader "+t.name)
			return
		}
		f.Stage = wire.StageTFTP // what firmware does before the script, here over HTTP
		h.follow(f, r, func() sent { return h.blobs.serve(w, r, d) })
	case kindKernel, kindInitramfs:
		if f.Stage = wire.StageKernel; t.kind == kindInitramfs {
			f.Stage = wire.StageInitramfs
		}
		h.follow(f, r, func() sent { return h.part(w, r, t) })
	default:
		h.missing(w, "nothing here")
	}
}

// follow tells Fetched of the beginning and the end of an answer. A body that was cut off ends the connection, so that
// it cannot be taken for the whole.
func (h *Handler) follow(f Fetch, r *http.Request, answer func() sent) {
	if h.conf.Fetched != nil && r.Method == http.MethodGet {
		h.conf.Fetched(f)
	}
	s := answer()
	if h.conf.Fetched != nil && r.Method == http.MethodGet {
		f.Ended, f.Took, f.Bytes, f.Size, f.Whole = true, h.conf.Now().Sub(f.Began), s.bytes, s.size, s.whole
		switch {
		case s.err != nil && s.status == http.StatusOK:
			f.Cause = fmt.Sprintf("cut off after %d of %d bytes: %v", s.bytes, s.size, s.err)
		case s.err != nil:
			f.Cause = fmt.Sprintf("%s: %d: %v", f.Path, s.status, s.err)
		}
		h.conf.Fetched(f)
	}
	if s.err != nil && s.status == http.StatusOK {
		panic(http.ErrAbortHandler)
	}
}

func (h *Handler) missing(w http.ResponseWriter, detail string) {
	h.counters.Missing.Add(1)
	problem(w, wire.Problem{Status: http.StatusNotFound, Detail: detail})
}

// script answers with the script of a machine. It is always an answer that iPXE runs: a machine shows only what is in a
// script.
func (h *Handler) script(w http.ResponseWriter, r *http.Request, f Fetch) sent {
	base, ok := baseOf(r)
	if !ok {
		problem(w, wire.Problem{Status: http.StatusBadRequest, Detail: "a Host is needed"})
		return sent{status: http.StatusBadRequest, err: errors.New("no usable Host")}
	}
	body, err := h.scriptFor(r, base, f)
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	s := sent{status: http.StatusOK, size: int64(len(body))}
	if r.Method == http.MethodGet {
		n, writeErr := w.Write(body)
		s.bytes, s.whole = int64(n), writeErr == nil && err == nil
		if s.err = writeErr; writeErr == nil && err != nil {
			// It was answered, but with a notice instead of a boot.
			s.status, s.err = 0, err
		}
	}
	h.counters.Bytes.Add(s.bytes)
	return s
}

func (h *Handler) scriptFor(r *http.Request, base string, f Fetch) ([]byte, error) {
	if !r.URL.Query().Has("mac") {
		return ask(base), nil
	}
	if f.MAC == "" {
		err := &Notice{Reason: "its boot loader names no MAC address"}
		return waitFor(base, "", err), err
	}
	m, err := h.conf.Target(r.Context(), Query{MAC: f.MAC, Remote: f.Remote, Base: base})
	if err != nil {
		return waitFor(base, f.MAC, err), err
	}
	if m.Local {
		return Local(m), nil
	}
	parts, err := h.image(m.Image)
	if err != nil {
		return waitFor(base, f.MAC, err), err
	}
	m.MAC = f.MAC
	body, err := Script(base, m, parts.cmdline)
	if err != nil {
		return waitFor(base, f.MAC, err), err
	}
	return body, nil
}

// part answers with the kernel or the initramfs of an image.
func (h *Handler) part(w http.ResponseWriter, r *http.Request, t target) sent {
	f, err := h.image(t.image)
	if err != nil {
		return h.blobs.fail(w, t.image, err)
	}
	if t.kind == kindKernel {
		return h.blobs.serve(w, r, f.kernel)
	}
	return h.blobs.serve(w, r, f.initramfs)
}

// image reads the manifest of an image, once.
func (h *Handler) image(d images.Digest) (files, error) {
	h.mu.Lock()
	f, ok := h.images[d]
	h.mu.Unlock()
	if ok {
		return f, nil
	}
	m, err := images.ReadManifest(h.conf.Blobs, d)
	if err != nil {
		return files{}, fmt.Errorf("image %s: %w", d.Short(), err)
	}
	f = files{m.Kernel.Digest, m.Initramfs.Digest, m.Cmdline}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.images) >= maxImages {
		clear(h.images)
	}
	h.images[d] = f
	return f, nil
}

// Blobs answers GET and HEAD of wire.PathBlob, for the TLS port. allow says who may; it answers nothing itself.
func (h *Handler) Blobs(allow func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.counters.Requests.Add(1)
		if !readOnly(w, r, &h.counters) {
			return
		}
		if !allow(r) {
			h.counters.Refused.Add(1)
			w.Header().Set("WWW-Authenticate", "Bearer") // RFC 6750, 3
			problem(w, wire.Problem{Status: http.StatusUnauthorized, Detail: "a token of a boot that is valid, or the administrator's, is needed"})
			return
		}
		id, ok := strings.CutPrefix(r.URL.Path, wire.PathBlob)
		d, err := images.ParseDigest(id)
		if !ok || err != nil || r.URL.RawPath != "" {
			h.missing(w, "want "+wire.PathBlob+"sha256:…")
			return
		}
		if s := h.blobs.serve(w, r, d); s.err != nil && s.status == http.StatusOK {
			panic(http.ErrAbortHandler)
		}
	})
}

// readOnly refuses all methods but GET and HEAD.
func readOnly(w http.ResponseWriter, r *http.Request, c *Counters) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	c.Refused.Add(1)
	w.Header().Set("Allow", "GET, HEAD")
	problem(w, wire.Problem{Status: http.StatusMethodNotAllowed, Detail: "only GET and HEAD"})
	return false
}

// macOf is the MAC address that a machine gives of itself, or empty.
func macOf(r *http.Request) string {
	s := r.URL.Query().Get("mac")
	if mac, err := net.ParseMAC(s); err == nil && len(mac) == 6 {
		return mac.String()
	}
	return ""
}

func remote(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero Addr where there is none, as on a socket
	return ap.Addr().Unmap().WithZone("")
}
