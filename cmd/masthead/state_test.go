package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"masthead/node/wire"
)

func TestPrintVerify(t *testing.T) {
	equal := wire.StateVerify{Equal: true, Heads: []wire.StateHash{
		{Head: "a", Root: "11", Records: 2, Equal: true, Complete: true}, {Head: "b", Root: "11", Records: 2, Equal: true},
	}}
	differ := wire.StateVerify{Heads: []wire.StateHash{
		{Head: "a", Root: "11", Records: 2, Equal: true}, {Head: "b", Root: "22", Records: 1, Differ: 3},
		{Head: "c", Root: "22", Records: 1, Error: "what differs: x"}, {Head: "d", Error: "no route to host"},
	}}
	silent := wire.StateVerify{Heads: []wire.StateHash{{Head: "a", Root: "11", Equal: true, Complete: true}, {Head: "d", Error: "off"}}}
	for _, tc := range []struct {
		v    wire.StateVerify
		want string
		err  string
	}{
		{equal, "HEAD  STATE      RECORDS  LAST WRITE  HASH\na     this head  2        -           11\nb     equal      2        -           11\n", ""},
		{differ, "HEAD  STATE                          RECORDS  LAST WRITE  HASH\n" +
			"a     incomplete                     2        -           11\n" +
			"b     3 keys differ                  1        -           22\n" +
			"c     differs (what differs: x)      1        -           22\n" +
			"d     unreachable: no route to host  -        -           -\n", "the state of b, c is not that of a; try masthead state diff b"},
		{silent, "HEAD  STATE             RECORDS  LAST WRITE  HASH\na     this head         0        -           11\nd     unreachable: off  -        -           -\n",
			"no answer from d: nobody knows what they hold; try masthead head list -l"},
	} {
		var out bytes.Buffer
		if err := (&app{out: &out}).printVerify(tc.v); err != nil || out.String() != tc.want {
			t.Errorf("%v\n%s\nwant\n%s", err, out.String(), tc.want)
		}
		said := ""
		if err := verdict(tc.v); err != nil {
			said = err.Error() + "; try " + err.(*hint).Try()
		}
		if silent := silence(tc.v); (silent != nil) != strings.Contains(out.String(), "unreachable") {
			t.Errorf("who does not answer: %v\n%s", silent, out.String())
		}
		if said != tc.err {
			t.Errorf("%q, want %q", said, tc.err)
		}
	}
}

func TestStateExportFile(t *testing.T) {
	answer := `{"format":"masthead state 1","missing":["secret/a"],"records":[{},{}]}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathStateExport || r.URL.Query().Get("secrets") != "false" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Write([]byte(answer))
	}))
	defer srv.Close()
	c := &wire.Client{Base: srv.URL, HTTP: srv.Client()}
	file := filepath.Join(t.TempDir(), "state.json")
	var out bytes.Buffer
	if err := (&app{out: &out}).exportState(t.Context(), c, file, false); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), file+": 2 records, without 1 secrets (--secrets)\n"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	answer = answer[:20] // a connection that broke
	if err := (&app{out: &out}).exportState(t.Context(), c, file, false); err == nil {
		t.Error("half an export was taken")
	}
	if data, err := os.ReadFile(file); err != nil || len(data) < 30 {
		t.Errorf("half an export took the place of a whole one: %s, %v", data, err)
	}
	out.Reset()
	if err := (&app{out: &out}).exportState(t.Context(), c, "-", false); err != nil || out.String() != answer {
		t.Errorf("on standard output: %q, %v", out.String(), err)
	}
}

func TestPrintStateDiffAndImport(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out}
	value := func(v string) *wire.StateValue { return &wire.StateValue{Version: "1.0.a", Value: json.RawMessage(v)} }
	a.printStateDiff("b", []wire.StateDiff{
		{Key: "node/n1", Ours: value("1"), Theirs: &wire.StateValue{Version: "1.1.b", Deleted: true}},
		{Key: "node/n2", Theirs: &wire.StateValue{Version: "1.1.b"}},
	})
	a.printImported(wire.StateImported{})
	a.printImported(wire.StateImported{Changes: []wire.StateDiff{{Key: "node/n1", Theirs: value(strings.Repeat("é", 200))}}})
	a.printImported(wire.StateImported{Applied: true, Changes: []wire.StateDiff{{Key: "node/n1", Ours: value("1")}}})
	want := `b: 2 keys differ
  node/n1
    here   1.0.a  1
    there  1.1.b  deleted
  node/n2
    here   nothing
    there  1.1.b  (changed again meanwhile)
state: nothing to change
state: 1 keys would change
  node/n1: - -> ` + strings.Repeat("é", 100) + `…
state: 1 keys changed
  node/n1: 1 -> -
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
	if _, stderr, code := invoke(t, "state", "export"); code != exitUsage || !strings.Contains(stderr, "try: masthead state export -o FILE") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
