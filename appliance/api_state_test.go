package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/gossip"
	"masthead/appliance/state"
	"masthead/node/wire"
)

func TestStateExportAndImport(t *testing.T) {
	h, c := newHead(t, nil)
	addNode(t, c, "n01", macA, "10.77.0.11")
	addNode(t, c, "n02", "52:54:00:77:00:0b", "")
	var file bytes.Buffer
	if err := c.StateExport(t.Context(), false, &file); err != nil {
		t.Fatal(err)
	}
	if _, err := state.ReadExport(file.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := c.StateExport(t.Context(), true, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	before, err := c.StateHash(t.Context())
	if err != nil || before.Head != "head1" || before.Root != h.db.Summary().Root.String() || before.Records == 0 {
		t.Errorf("hash: %+v, %v", before, err)
	}
	if v, err := c.StateVerify(t.Context()); err != nil || !v.Equal || len(v.Heads) != 1 || v.Heads[0] != before {
		t.Errorf("verify: %+v, %v; want only %+v", v, err, before)
	}
	if done, err := c.StateImport(t.Context(), bytes.NewReader(file.Bytes()), true, false); err != nil || len(done.Changes) != 0 {
		t.Errorf("importing what is there: %+v, %v", done, err)
	}

	edited := strings.Replace(file.String(), "\"node/n01\",\n      \"version\"", "\"node/n03\",\n      \"version\"", 1)
	keys := func(done wire.StateImported) (got []string) {
		for _, d := range done.Changes {
			got = append(got, d.Key)
		}
		return got
	}
	if _, err := c.StateImport(t.Context(), strings.NewReader(edited), false, false); status(err) != http.StatusBadRequest ||
		!strings.Contains(err.Error(), "MAC address of") || !strings.Contains(err.Error(), "10.77.0.11") {
		t.Errorf("two nodes with one MAC and one address: %v", err)
	}
	for _, dry := range []bool{true, false} {
		done, err := c.StateImport(t.Context(), strings.NewReader(edited), true, dry)
		if diff := cmp.Diff([]string{"node/n01", "node/n03"}, keys(done)); err != nil || diff != "" || done.Applied == dry {
			t.Errorf("dry run %t: %+v, %v\n%s", dry, done, err, diff)
		}
		_, err = h.db.Get(state.Key{Kind: state.KindNode, Name: "n03"})
		if dry != errors.Is(err, state.ErrNotFound) {
			t.Errorf("dry run %t: %v", dry, err)
		}
	}
	if log, err := h.db.Audit(1); err != nil || log[0].Who != "admin" || len(log[0].Changes) != 2 {
		t.Errorf("audit: %+v, %v", log, err)
	}
	if _, err := c.StateImport(t.Context(), strings.NewReader("{"), false, true); status(err) != http.StatusBadRequest {
		t.Errorf("no export: %v", err)
	}
	if _, err := c.StateDiff(t.Context(), "nosuch"); status(err) != http.StatusNotFound {
		t.Errorf("diff with no head: %v", err)
	}

	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(false))
	defer srv.Close()
	stranger := &wire.Client{Base: srv.URL, HTTP: srv.Client()}
	if err := stranger.StateExport(t.Context(), true, &bytes.Buffer{}); status(err) != http.StatusUnauthorized {
		t.Errorf("a stranger's export: %v", err)
	}
	if _, err := stranger.StateImport(t.Context(), strings.NewReader("{}"), false, false); status(err) != http.StatusUnauthorized {
		t.Errorf("a stranger's import: %v", err)
	}
}

// exported is a file with these records.
func exported(t *testing.T, records ...state.ExportRecord) io.Reader {
	t.Helper()
	var file bytes.Buffer
	if err := (state.Export{Format: "masthead state 1", Missing: []string{}, Records: records}).Write(&file); err != nil {
		t.Fatal(err)
	}
	return &file
}

func documentRecord(t *testing.T, text string) state.ExportRecord {
	t.Helper()
	value, err := json.Marshal(wire.ClusterConfig{Version: 7, Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return state.ExportRecord{Key: clusterKey.String(), Value: value}
}

// What an import puts in force is held against what is in force, with the nodes of the file.
func TestStateImportOfADocument(t *testing.T) {
	h, c := newHead(t, nil)
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	role := "Primary"
	farEnd(t, h, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, []wire.DataVolume{{Name: "a", Head: "head1", Role: role}})
	}))
	const a, b = "  - {name: a, device: /dev/vdb", "  - {name: b, device: /dev/vdc"
	set(t, c, "data:\n"+a+"}\n"+b+"}\n")
	before, err := c.Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node := state.ExportRecord{Key: "node/n09", Value: json.RawMessage(`{"mac": "52:54:00:77:00:09", "address": "10.77.0.19"}`)}
	file := func(text string) io.Reader { return exported(t, documentRecord(t, text), node) }
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"no document", "name: [\n", []string{"document:"}},
		{"unknown field", "name: a\nvpis: []\n", []string{"document:2: vpis: no such field"}},
		{"another order", "data:\n" + b + "}\n" + a + "}\n", []string{"document:2", "it is volume 2"}},
		{"without a volume that is in use", "data:\n" + b + ", number: 2}\n", []string{"volume a is in use on head1", "masthead service disable"}},
		{"an address of a node of the file", "vips: [{address: 10.77.0.19/24}]\ndata:\n" + a + "}\n" + b + "}\n", []string{"it is reserved for node n09"}},
		{"witnesses that are none", "witnesses: [n09, n10, n11]\ndata:\n" + a + "}\n" + b + "}\n", []string{`witnesses[1]: "n10": there is no such node`}},
		{"a password", "mail: {server: mail:25, user: u, password: p, from: a@b, to: [a@b]}\ndata:\n" + a + "}\n" + b + "}\n", []string{"must not stand in the document"}},
	} {
		for _, dry := range []bool{true, false} {
			_, err := c.StateImport(t.Context(), file(tt.text), false, dry)
			refused(t, tt.name, err, http.StatusBadRequest, append(tt.want, "cluster/configuration in the file")...)
		}
		now, err := c.Cluster(t.Context())
		if _, ok := h.reg.Record("n09"); err != nil || now != before || ok {
			t.Errorf("%s: in force is %+v, node n09 %t, %v", tt.name, now, ok, err)
		}
	}
	_, err = c.StateImport(t.Context(), exported(t), true, false)
	refused(t, "without the document", err, http.StatusBadRequest, "volume a is in use on head1")

	role = "Secondary"
	good := "witnesses: [n09, n10, n11]\ndata:\n" + b + ", number: 2}\n"
	for i, name := range []string{"n10", "n11"} {
		addNode(t, c, name, fmt.Sprintf("52:54:00:77:00:1%d", i), fmt.Sprintf("10.77.0.2%d", i))
	}
	if _, err := c.StateImport(t.Context(), file(good), false, false); err != nil {
		t.Errorf("a document that fits: %v", err)
	}
	if now, err := c.Cluster(t.Context()); err != nil || now.Text != good {
		t.Errorf("in force is %+v, %v", now, err)
	}
}

// A head that has no document yet takes that of an export as it is: what it lacks of that cluster comes later.
func TestStateImportOnANewHead(t *testing.T) {
	h, c := newHead(t, nil)
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := func(text string) io.Reader { return exported(t, documentRecord(t, text)) }
	_, err := c.StateImport(t.Context(), file("vpis: []\n"), true, false)
	refused(t, "no document", err, http.StatusBadRequest, "document:1: vpis: no such field")
	text := "witnesses: [n01, n02, n03]\ndata: [{name: a, device: /dev/vdb}]\nmail: {server: mail:25, user: u, password: \"secret:mail\", from: a@b, to: [a@b]}\n"
	if _, err := c.StateImport(t.Context(), file(text), true, false); err != nil {
		t.Fatal(err)
	}
	if now, err := c.Cluster(t.Context()); err != nil || now.Text != text {
		t.Errorf("in force is %+v, %v", now, err)
	}
}

// otherHeads is what the replication would tell of two heads: one that differs, and one that is off.
type otherHeads struct {
	own, theirs *state.DB
	fetched     []state.Record // instead of what theirs has
}

func (o otherHeads) Verify(context.Context) ([]gossip.HeadHash, bool, error) {
	own, theirs := o.own.Summary(), o.theirs.Summary()
	return []gossip.HeadHash{
		{Head: "head1", Self: true, Root: own.Root, Records: own.Records, Newest: own.Newest.Time()},
		{Head: "head2", Root: theirs.Root, Records: theirs.Records, Newest: theirs.Newest.Time()},
		{Head: "head3", Err: errors.New("no route to host")},
	}, false, nil
}

func (o otherHeads) Diff(context.Context, string) ([]gossip.KeyDifference, error) {
	var list []gossip.KeyDifference
	for _, d := range state.Difference(o.own.All(), o.theirs.All()) {
		k := gossip.KeyDifference{Key: d.Key}
		if d.Ours != nil {
			k.Ours = d.Ours.Version
		}
		if d.Theirs != nil {
			k.Theirs = d.Theirs.Version
		}
		list = append(list, k)
	}
	return list, nil
}

func (o otherHeads) Fetch(_ context.Context, _ string, keys []state.Key) ([]state.Record, error) {
	if o.fetched != nil {
		return o.fetched, nil
	}
	return o.theirs.Records(keys)
}

func TestStateVerifyAndDiff(t *testing.T) {
	open := func(head string, hlc state.HLC, values map[string]string) *state.DB {
		d, err := state.Open(state.Config{Dir: t.TempDir(), Head: head})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		for key, v := range values {
			k, err := state.ParseKey(key)
			if err != nil {
				t.Fatal(err)
			}
			r := state.Record{Key: k, Version: state.Version{Epoch: 1, HLC: hlc, Head: head}, Deleted: v == ""}
			if v != "" {
				r.Value = json.RawMessage(v)
			}
			if _, err := d.Merge(t.Context(), []state.Record{r}); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	o := otherHeads{
		own:    open("head1", 1<<16, map[string]string{"lease/a": "1", "lease/b": "1", "secret/s": "1"}),
		theirs: open("head2", 2<<16, map[string]string{"lease/b": "", "lease/c": "3", "secret/s": "2"}),
	}
	own := wire.StateHash{Head: "head1", Complete: true, Epoch: 1}
	got, err := verifyState(t.Context(), func() wire.StateHash { return own }, o)
	want := wire.StateVerify{Heads: []wire.StateHash{
		{Head: "head1", Root: o.own.Summary().Root.String(), Records: 3, Newest: time.UnixMilli(1).UTC(), Equal: true, Complete: true, Epoch: 1},
		{Head: "head2", Root: o.theirs.Summary().Root.String(), Records: 3, Newest: time.UnixMilli(2).UTC(), Differ: 4},
		{Head: "head3", Error: "no route to host"},
	}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}

	side := func(head, hlc, value string, ms int64) *wire.StateValue {
		v := &wire.StateValue{Version: "1.00000000000" + hlc + "." + head, Time: time.UnixMilli(ms).UTC()}
		if v.Deleted = value == ""; !v.Deleted {
			v.Value = json.RawMessage(value)
		}
		return v
	}
	wantDiff := []wire.StateDiff{
		{Key: "lease/a", Ours: side("head1", "10000", "1", 1)},
		{Key: "lease/b", Ours: side("head1", "10000", "1", 1), Theirs: side("head2", "20000", "", 2)},
		{Key: "lease/c", Theirs: side("head2", "20000", "3", 2)},
		{Key: "secret/s", Ours: side("head1", "10000", `"(secret)"`, 1), Theirs: side("head2", "20000", `"(secret)"`, 2)},
	}
	diffs, err := diffState(t.Context(), o.own, "head2", o)
	if diff := cmp.Diff(wantDiff, diffs); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	o.fetched = []state.Record{} // it has changed everything meanwhile
	diffs, err = diffState(t.Context(), o.own, "head2", o)
	if err != nil || len(diffs) != 4 || diffs[2].Theirs.Value != nil || diffs[2].Theirs.Deleted {
		t.Errorf("%+v, %v", diffs[2].Theirs, err)
	}
}
