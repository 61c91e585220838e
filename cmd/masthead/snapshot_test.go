package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

// A program reads what a change of snapshots did as one JSON object: the name of a new one above all.
func TestSnapshotJSON(t *testing.T) {
	state := "started"
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("POST "+wire.PathDataVolume+"{volume}"+wire.PathSnapshots, func(w http.ResponseWriter, r *http.Request) {
		var change wire.SnapshotChange
		if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
			t.Error(err)
		}
		out := wire.SnapshotChanged{Volume: r.PathValue("volume"), Name: "s1", Does: []string{change.Action + "s it"}, Applied: !change.DryRun}
		if change.Action == "rollback" {
			out.Restart = "db"
		}
		answer(w, out)
	})
	mux.HandleFunc("GET "+wire.PathOwner, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, wire.OwnerStatus{Services: []wire.ServiceState{{Name: "db", State: state}}})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { // the service is stopped, and started
		var change wire.ServiceChange
		if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
			t.Errorf("%s: %v", r.URL, err)
		}
		state = map[string]string{"stop": "stopped", "enable": "started"}[change.Action]
		answer(w, wire.ServiceChanged{})
	})
	to := headOf(t, httptest.NewTLSServer(mux))
	for _, tt := range []struct {
		args string
		want wire.SnapshotChanged
	}{
		{"create --name before", wire.SnapshotChanged{Name: "s1", Does: []string{"creates it"}, Applied: true}},
		{"create --dry-run", wire.SnapshotChanged{Name: "s1", Does: []string{"creates it"}}},
		{"rm s1", wire.SnapshotChanged{Name: "s1", Does: []string{"rms it"}, Applied: true}},
		{"rollback s1 --dry-run", wire.SnapshotChanged{Name: "s1", Does: []string{"rollbacks it"}, Restart: "db"}},
		{"rollback s1 --confirm s1", wire.SnapshotChanged{Name: "s1", Does: []string{"rollbacks it"}, Restart: "db", Applied: true}},
	} {
		tt.want.Volume = "data"
		args := append([]string{"snapshot"}, strings.Fields(tt.args+" --volume data -o json")...)
		stdout, stderr, code := invoke(t, append(args, to...)...)
		var got wire.SnapshotChanged
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
			t.Errorf("%s: exit code %d, %v, %q\n%s", tt.args, code, err, stdout, stderr)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s:\n%s", tt.args, d)
		}
	}
}

// headOf is a server in place of a head: the flags by which commands find it. It ends with the test.
func headOf(t *testing.T, s *httptest.Server) []string {
	t.Helper()
	t.Cleanup(s.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--head", s.URL, "--ca", string(images.DigestOf(s.Certificate().Raw)), "--token-file", token} // which is its own CA
}
