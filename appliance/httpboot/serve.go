package httpboot

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// Counters is what a handler has done since it was made.
type Counters struct {
	Requests atomic.Int64
	Bytes    atomic.Int64 // of bodies
	Missing  atomic.Int64 // answered 404
	Refused  atomic.Int64 // answered 401 or 405
	Damaged  atomic.Int64 // not served because the blob is damaged
	Broken   atomic.Int64 // cut off before the body was sent
}

// sent is how an answer ended.
type sent struct {
	status int
	bytes  int64 // of the body
	size   int64 // of the whole blob
	whole  bool  // the machine has all of it now
	err    error
}

// Values of header fields that all blobs share; the slices are not changed.
var (
	valueOctets    = []string{"application/octet-stream"}
	valueImmutable = []string{"public, max-age=31536000, immutable"} // the name is the content's digest
	valueBytes     = []string{"bytes"}
)

// serve answers with a blob.
func (h *blobs) serve(w http.ResponseWriter, r *http.Request, d images.Digest) sent {
	b, err := h.open(d)
	if err != nil {
		return h.fail(w, d, err)
	}
	defer b.close()
	header := w.Header()
	header["Content-Type"] = valueOctets
	header["Cache-Control"] = valueImmutable
	header["Etag"] = []string{`"` + string(d) + `"`}
	if b.file != nil {
		header["Accept-Ranges"] = valueBytes
		if special(r) {
			return h.serveSpecial(w, r, b)
		}
	}
	header["Content-Length"] = []string{strconv.FormatInt(b.size, 10)}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return sent{status: http.StatusOK, size: b.size}
	}
	if b.file != nil {
		sendHeaderWith(w, r)
	}
	n, err := io.Copy(w, b.body)
	if err == nil && n < b.size {
		err = io.ErrUnexpectedEOF
	}
	h.counters.Bytes.Add(n)
	if err != nil {
		h.counters.Broken.Add(1)
	}
	return sent{status: http.StatusOK, bytes: n, size: b.size, whole: err == nil, err: err}
}

// special are requests for a part of a blob, or on a condition, which ServeContent answers (RFC 9110, 13 and 14).
func special(r *http.Request) bool {
	for _, name := range []string{"Range", "If-None-Match", "If-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since"} {
		if _, ok := r.Header[name]; ok {
			return true
		}
	}
	return false
}

func (h *blobs) serveSpecial(w http.ResponseWriter, r *http.Request, b blob) sent {
	body := io.NewSectionReader(b.file, 0, b.size)
	c := &counting{ResponseWriter: w}
	http.ServeContent(c, r, "", time.Time{}, body)
	// A resumed transfer is complete with its last byte.
	at, err := body.Seek(0, io.SeekCurrent)
	out := sent{status: c.status, bytes: c.n, size: b.size, whole: err == nil && at == b.size && c.status < 300 && c.n > 0}
	h.counters.Bytes.Add(c.n)
	return out
}

// fail answers a blob that cannot be served, naming it.
func (h *blobs) fail(w http.ResponseWriter, d images.Digest, err error) sent {
	p := wire.Problem{Status: http.StatusInternalServerError, Detail: err.Error()}
	var bad *DamagedError
	switch {
	case errors.Is(err, images.ErrNotFound):
		p = wire.Problem{Status: http.StatusNotFound, Detail: "no blob " + string(d), Try: "masthead image list"}
		h.counters.Missing.Add(1)
	case errors.As(err, &bad):
		p.Try = bad.Try()
		h.counters.Damaged.Add(1)
	}
	problem(w, p)
	return sent{status: p.Status, err: err}
}

func problem(w http.ResponseWriter, p wire.Problem) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) // the client may be gone
}

// counting counts a body, and lets sendfile through.
type counting struct {
	http.ResponseWriter
	status int
	n      int64
}

func (c *counting) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	return n, err
}

func (c *counting) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.n += n
	return n, err
}
