package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"masthead/appliance/data"
	"masthead/node/wire"
)

// The handler gives DRBD what the owner daemon says, asks again while there is no answer, and never says that the other
// head is dead because nobody answers.
func TestDRBDHandler(t *testing.T) {
	tests := []struct {
		name    string
		handler string
		answers []wire.DataAnswer // then the last one again
		want    int
	}{
		{"proof", "fence-peer", []wire.DataAnswer{{Code: data.ExitFenced}}, 7},
		{"outdated, after a while", "fence-peer", []wire.DataAnswer{{Code: 1, Again: true}, {Code: 1, Again: true}, {Code: data.ExitOutdated}}, 4},
		{"the other owns", "fence-peer", []wire.DataAnswer{{Code: data.ExitPrimary}}, 6},
		{"connected again", "fence-peer", []wire.DataAnswer{{Code: data.ExitUnknown}}, 1},
		{"never an answer", "fence-peer", []wire.DataAnswer{{Code: 7, Again: true}}, 1},
		{"what needs none", "split-brain", []wire.DataAnswer{{}}, 0},
		{"what cannot be told", "before-resync-target", nil, 0},
	}
	for _, tt := range tests {
		socket := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var q wire.DataAsk
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Handler != tt.handler || q.Resource != "data" || r.URL.Path != wire.PathOwnerAsk {
				t.Errorf("%s: asked %s for %+v, %v", tt.name, r.URL.Path, q, err)
			}
			if len(tt.answers) == 0 {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			a := tt.answers[min(asked, len(tt.answers)-1)]
			asked++
			_ = json.NewEncoder(w).Encode(a)
		})}}
		srv.Start()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if len(tt.answers) > 0 && !tt.answers[len(tt.answers)-1].Again {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
		}
		got := answerDRBD(ctx, wire.NewUnixClient(socket), wire.DataAsk{Handler: tt.handler, Resource: "data"}, slog.New(slog.DiscardHandler))
		cancel()
		srv.Close()
		if got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// A daemon that is not there proves nothing.
func TestDRBDHandlerWithoutDaemon(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	owner := wire.NewUnixClient(filepath.Join(t.TempDir(), "none"))
	if got := answerDRBD(ctx, owner, wire.DataAsk{Handler: "fence-peer", Resource: "data"}, slog.New(slog.DiscardHandler)); got != data.ExitUnknown {
		t.Errorf("got %d, want 1: writes stay frozen", got)
	}
}
