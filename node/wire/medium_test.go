package wire

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Any part of the ISO is read as it lies there, to its end and not further.
func TestMedium(t *testing.T) {
	iso := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != PathMedium || r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(iso))
	}))
	t.Cleanup(srv.Close)
	m, err := (&Client{Base: srv.URL, HTTP: srv.Client(), Token: "secret"}).Medium(t.Context())
	if err != nil || m.Size != int64(len(iso)) {
		t.Fatalf("%v, %+v", err, m)
	}
	got, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size))
	if err != nil || !bytes.Equal(got, iso) {
		t.Errorf("all of it: %d bytes, %v", len(got), err)
	}
	b := make([]byte, 10)
	for _, tt := range []struct {
		at   int64
		n    int
		want error
	}{{5, 10, nil}, {m.Size - 10, 10, nil}, {m.Size - 4, 4, io.EOF}, {m.Size, 0, io.EOF}} {
		n, err := m.ReadAt(b, tt.at)
		if n != tt.n || err != tt.want || !bytes.Equal(b[:n], iso[tt.at:tt.at+int64(n)]) {
			t.Errorf("at %d: %d, %v", tt.at, n, err)
		}
	}
	if _, err := (&Client{Base: srv.URL, HTTP: srv.Client()}).Medium(t.Context()); err == nil {
		t.Error("without the token it was given")
	}
	m.c.Token = "" // it has run out
	if _, err := m.ReadAt(b, 0); err == nil {
		t.Error("with a token that has run out it was read")
	}
}
