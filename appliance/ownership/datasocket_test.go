package ownership

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"masthead/appliance/data"
	"masthead/node/wire"
)

// TestNoData: a head without replicated data says so, whatever it is asked of them, and what to type.
func TestNoData(t *testing.T) {
	h := (&Daemon{parts: &parts{}}).handler()
	snapshots := wire.PathOwnerVolume + "db" + wire.PathSnapshots
	for _, request := range []string{
		"POST " + wire.PathOwnerAsk, "POST " + wire.PathOwnerVolume + "db", "GET " + snapshots, "POST " + snapshots,
		"GET " + wire.PathOwnerVolume + "db" + wire.PathSnapshotDiff + "before",
	} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("{}")))
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusNotFound || p.Detail != "this head has no replicated data" || p.Try == "" {
			t.Errorf("%s: %d, %v: %s", request, w.Code, err, w.Body)
		}
	}
}

func TestDataProblem(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{fmt.Errorf("db: %w", data.ErrNoVolume), http.StatusNotFound},
		{fmt.Errorf("db: %w", data.ErrNotHere), http.StatusConflict},
		{&problem{http.StatusBadRequest, "no", ""}, http.StatusBadRequest},
		{fmt.Errorf("the disk is gone"), http.StatusInternalServerError},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		answer(w, nil, dataProblem(tt.err))
		if w.Code != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, w.Code, tt.want)
		}
	}
}
