package appliance

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// filesBelow gives each head of a ring a root of its own for its files.
func filesBelow(t *testing.T, r *ring) (roots []string) {
	t.Helper()
	for _, h := range r.heads {
		root := t.TempDir()
		k, err := h.newFileKeeper(root)
		if err != nil {
			t.Fatal(err)
		}
		h.files.keeper = k
		roots = append(roots, root)
	}
	return roots
}

func sendFile(t *testing.T, c *wire.Client, path, text string, mode uint32) (wire.FileChanged, error) {
	t.Helper()
	b := images.Blob{Digest: images.DigestOf([]byte(text)), Size: int64(len(text))}
	if err := c.PutFileBlob(t.Context(), b, bytes.NewReader([]byte(text))); err != nil {
		return wire.FileChanged{}, err
	}
	return c.AddFile(t.Context(), wire.FileChange{Path: path, Digest: b.Digest, Size: b.Size, Mode: mode, UID: os.Getuid(), GID: os.Getgid()})
}

// A file is the same on all heads, its content is nobody's but theirs and the administrator's, and what differs is said.
func TestFileOnAllHeads(t *testing.T) {
	r := newRing(t, "h1", "h2")
	tagged(t, r.heads[0], "worker", "what the worker boots")
	roots := filesBelow(t, r)
	const path, secret = "/etc/ssl/private/web.key", "a very secret key"
	c, ctx := r.client(0), t.Context()
	changed, err := sendFile(t, c, path, secret, 0o640)
	if err != nil || !changed.Applied || len(changed.Diff) == 0 {
		t.Fatalf("add: %+v, %v", changed, err)
	}
	r.tell()
	for i, h := range r.heads {
		if !h.files.keeper.Look(ctx, true) {
			t.Errorf("%s: %+v", h.cfg.Name, h.filesDiffer())
		}
		data, err := os.ReadFile(filepath.Join(roots[i], path))
		st, e := os.Stat(filepath.Join(roots[i], path))
		if err != nil || e != nil || string(data) != secret || st.Mode().Perm() != 0o640 {
			t.Errorf("%s: %q, %v, %v", h.cfg.Name, data, err, e)
		}
	}
	if list, err := c.FileDiff(ctx, path); err != nil || len(list) != 0 {
		t.Errorf("diff: %+v, %v", list, err)
	}

	// Nobody else is given the content, and no log has it.
	d := images.DigestOf([]byte(secret))
	for name, c := range map[string]*wire.Client{"a worker": r.worker(0), "a stranger": r.clientOf(0, "")} {
		if _, err := c.FileBlob(ctx, d); statusOf(err) != http.StatusForbidden && statusOf(err) != http.StatusUnauthorized {
			t.Errorf("%s asks for the content: %v", name, err)
		}
		if _, _, err := c.Blob(ctx, d); statusOf(err) == http.StatusOK {
			t.Errorf("%s is given the content as an image's blob", name)
		}
	}
	if _, _, err := c.Blob(ctx, d); statusOf(err) != http.StatusNotFound {
		t.Errorf("the content is among the images' blobs: %v", err)
	}
	audit, err := r.heads[0].db.Audit(100)
	if err != nil {
		t.Fatal(err)
	}
	log, err := json.Marshal(audit)
	if err != nil || bytes.Contains(log, []byte(secret)) || !bytes.Contains(log, []byte(path)) {
		t.Errorf("the audit log: %v\n%s", err, log)
	}
	if st, err := os.Stat(filepath.Join(r.heads[1].cfg.StateDir, filesDir)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("folder of the contents: %v, %v", st, err)
	}
	body, err := r.client(1).FileBlob(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(body)
	body.Close()
	if err != nil || string(data) != secret {
		t.Errorf("the administrator gets %q, %v", data, err)
	}

	// Changed by hand on the other head: reported by whichever head is asked, and left.
	if err := os.WriteFile(filepath.Join(roots[1], path), []byte("renewed"), 0o640); err != nil {
		t.Fatal(err)
	}
	r.heads[1].files.keeper.Look(ctx, true)
	list, err := c.FileDiff(ctx, path)
	if err != nil || len(list) != 1 || list[0].Head != "h2" || list[0].Path != path || list[0].Diff[0].Field != "content" || list[0].Try == "" {
		t.Errorf("diff: %+v, %v", list, err)
	}
	dry, err := c.RestoreFile(ctx, wire.FileChange{Path: path, DryRun: true})
	if err != nil || dry.Applied || len(dry.Diff) != 1 {
		t.Errorf("restore, dry: %+v, %v", dry, err)
	}
	if _, err := c.RestoreFile(ctx, wire.FileChange{Path: path}); err != nil {
		t.Fatal(err)
	}
	r.tell()
	r.heads[1].files.keeper.Look(ctx, true)
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(roots[1], name))
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
	if read(path) != secret || read(path+".old.00") != "renewed" {
		t.Errorf("restored: %q, kept %q", read(path), read(path+".old.00"))
	}

	// History and rollback, on the other head.
	if _, err := sendFile(t, r.client(1), path, "newer", 0o600); err != nil {
		t.Fatal(err)
	}
	if same, err := sendFile(t, r.client(1), path, "newer", 0o600); err != nil || len(same.Diff) != 0 {
		t.Errorf("the same again: %+v, %v", same, err)
	}
	if _, err := r.client(1).RollbackFile(ctx, wire.FileChange{Path: path}); err != nil {
		t.Fatal(err)
	}
	r.tell()
	f, err := c.File(ctx, path)
	if err != nil || len(f.Versions) != 3 || f.Now().Digest != d || f.Versions[1].Mode != 0o600 || f.Now().Who != "admin" || !strings.HasPrefix(f.Now().Where, "h2") {
		t.Errorf("history: %+v, %v", f, err)
	}

	// Removed: it stays where it is, and its content goes from the store.
	if dry, err := c.RemoveFile(ctx, path, true); err != nil || dry.Applied {
		t.Errorf("rm, dry: %+v, %v", dry, err)
	}
	if _, err := c.RemoveFile(ctx, path, false); err != nil {
		t.Fatal(err)
	}
	r.tell()
	h := r.heads[0]
	h.files.uploaded = h.started.Add(-uploadTime)
	h.clearFiles(ctx)
	h.files.keeper.Look(ctx, true)
	if h.files.has(images.Blob{Digest: d, Size: int64(len(secret))}) {
		t.Error("the content is still in the store")
	}
	if _, err := os.Stat(filepath.Join(roots[0], path)); err != nil {
		t.Errorf("the file itself: %v", err)
	}
	if _, err := c.File(ctx, path); statusOf(err) != http.StatusNotFound {
		t.Errorf("show: %v", err)
	}
}

func TestRefusedFiles(t *testing.T) {
	r := newRing(t, "h1")
	filesBelow(t, r)
	c := r.client(0)
	for _, path := range []string{"relative", "/proc/x", "/etc/machine-id", r.heads[0].cfg.StateDir + "/pki/ca.key", images.StateDir + "/x", "/run/x", "/etc/a b"} {
		if _, err := sendFile(t, c, path, "x", 0o600); statusOf(err) != http.StatusBadRequest {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := sendFile(t, c, "/etc/big", strings.Repeat("x", wire.MaxFile+1), 0o600); statusOf(err) != http.StatusRequestEntityTooLarge {
		t.Errorf("a large file: %v", err)
	}
	if _, err := sendFile(t, c, "/etc/empty", "", 0o600); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	if !r.heads[0].files.keeper.Look(t.Context(), true) {
		t.Errorf("%+v", r.heads[0].filesDiffer())
	}
	ghost := wire.FileChange{Path: "/etc/x", Digest: images.DigestOf([]byte("never sent")), Size: 10, Mode: 0o600}
	if _, err := c.AddFile(t.Context(), ghost); statusOf(err) != http.StatusConflict {
		t.Errorf("a content that was not sent: %v", err)
	}
	ghost.DryRun = true
	if ch, err := c.AddFile(t.Context(), ghost); err != nil || ch.Applied || !slices.ContainsFunc(ch.Diff, func(d wire.Difference) bool { return d.Field == "content" }) {
		t.Errorf("dry run: %+v, %v", ch, err)
	}
}

// A head that is off is said so, and hides nothing of the others.
func TestDiffWithADeadHead(t *testing.T) {
	r := newRing(t, "h1", "h2")
	filesBelow(t, r)
	if _, err := sendFile(t, r.client(0), "/etc/x", "x", 0o600); err != nil {
		t.Fatal(err)
	}
	r.srvs[1].Close()
	began := time.Now()
	list, err := r.client(0).FileDiff(t.Context(), "")
	if err != nil || len(list) != 2 || list[0].Head != "h2" || list[0].Reason != "has not answered since this head started" || list[1].Head != "h1" {
		t.Errorf("%+v, %v", list, err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a head that is known to be silent held it up for %v", took)
	}
}

func TestSilence(t *testing.T) {
	seen := time.Date(2026, 11, 22, 1, 15, 50, 0, time.UTC)
	for want, got := range map[string]string{
		"does not answer since 2026-11-22 01:15:50 UTC": silence(false, seen, io.EOF),
		"has not answered since this head started":      silence(false, time.Time{}, io.EOF),
		"gives no answer: EOF":                          silence(true, seen, io.EOF),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// An owner whom this head does not know is refused, unless the file has it already.
func TestUnknownOwner(t *testing.T) {
	r := newRing(t, "h1")
	ch := wire.FileChange{Path: "/etc/x", Digest: images.DigestOf([]byte("x")), Size: 1, Mode: 0o600, Owner: "nosuchuser", UID: 65534, DryRun: true}
	_, err := r.client(0).AddFile(t.Context(), ch)
	if statusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), `no user "nosuchuser"`) {
		t.Errorf("user: %v", err)
	}
	ch.Owner, ch.Group = "", "nosuchgroup"
	if _, err := r.client(0).AddFile(t.Context(), ch); statusOf(err) != http.StatusBadRequest {
		t.Errorf("group: %v", err)
	}
	ch.Group = "" // numbers
	if _, err := r.client(0).AddFile(t.Context(), ch); err != nil {
		t.Errorf("numbers: %v", err)
	}
}
