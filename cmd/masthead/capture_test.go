package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/pki"
	"masthead/images"
	"masthead/node/wire"
	"masthead/rootfs/capture"
	"masthead/vmtest/prerequisite"
)

// TestVolumeRules holds that what lies beneath a replicated folder stays out of a capture.
func TestVolumeRules(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(wire.ClusterConfig{Text: "data:\n- name: data\n  folders: [/var/lib/mysql, '/opt/a[b]']\n"})
	}))
	defer server.Close()
	got, err := volumeRules(t.Context(), wire.NewClient(server.URL, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	const why = "the replicated volume data is the heads'"
	if diff := cmp.Diff([]capture.Rule{{Pattern: "var/lib/mysql/*", Why: why}, {Pattern: `opt/a\[b]/*`, Why: why}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestCaptureKnowsTokens puts real tokens of a cluster where nobody looks for them.
func TestCaptureKnowsTokens(t *testing.T) {
	prerequisite.Root(t)
	join, err := pki.NewJoinToken(images.DigestOf([]byte("a cluster")), []string{"https://10.77.0.1"}, time.Unix(2_000_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	keys := t.TempDir()
	if _, err := pki.OpenAdmin(keys); err != nil {
		t.Fatal(err)
	}
	admin, err := os.ReadFile(filepath.Join(keys, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("opt/tool/conf", []byte("token = "+join.String()+"\n"))
	write("root/notes", admin)
	write("opt/tool/readme", []byte("no token\n"))
	r, err := capture.Read(t.Context(), capture.Config{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const why = "holds a token of the cluster"
	if diff := cmp.Diff([]capture.Left{{Path: "/opt/tool/conf", Why: why}, {Path: "/root/notes", Why: why}}, r.Left); diff != "" {
		t.Error(diff)
	}
}
