package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/configuration"
	"masthead/node/wire"
)

const oldConf = `<cluster name="VMCluster" config_version="2">
  <clusternodes>
    <clusternode name="vapp1" nodeid="1"><fence><method name="1"><device name="esx" vmname="vapp1"/></method></fence></clusternode>
    <clusternode name="vapp2" nodeid="2"><fence><method name="1"><device name="esx" vmname="vapp2"/></method></fence></clusternode>
  </clusternodes>
  <fencedevices><fencedevice agent="fence_vmware" name="esx" server="10.1.4.20" username="root" password="b0gus"/></fencedevices>
  <rm><service autostart="1" name="VirtualHTTP">
    <ip address="10.1.4.150" monitor_link="1"/>
    <script name="http" file="/etc/init.d/httpd"/>
  </service></rm>
  <nonsense/>
</cluster>
`

// clusterHead keeps a document and secrets, as a head does.
type clusterHead struct {
	t       *testing.T
	text    string
	version int
	secrets map[string]string
	changes int
}

func (h *clusterHead) set(r *http.Request) any {
	var c wire.ClusterChange
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		h.t.Error(err)
	}
	if _, err := configuration.Parse("document", []byte(c.Text)); err != nil {
		return wire.Problem{Status: http.StatusBadRequest, Detail: err.Error()}
	}
	changed := wire.ClusterChanged{Version: h.version, Diff: configuration.DiffLines(h.text, c.Text)}
	if c.DryRun || len(changed.Diff) == 0 {
		return changed
	}
	h.changes++
	h.version, h.text = h.version+1, c.Text
	changed.Version, changed.Applied = h.version, true
	return changed
}

func (h *clusterHead) keep(r *http.Request) any {
	var s wire.ClusterSecret
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		h.t.Error(err)
	}
	name := filepath.Base(r.URL.Path)
	h.secrets[name] = s.Value
	return wire.ClusterSecretKept{Name: name}
}

func TestImport(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "cluster.conf")
	if err := os.WriteFile(conf, []byte(oldConf), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := invoke(t, "import", "cluster.conf", conf)
	if code != 0 {
		t.Fatal(stderr)
	}
	doc, err := configuration.Parse("document", []byte(stdout))
	if err != nil || doc.Name != "VMCluster" || len(doc.Services) != 1 || len(doc.FenceDevices) != 1 {
		t.Errorf("%v\n%s", err, stdout)
	}
	for _, want := range []string{"? cluster.conf:11: <nonsense/>\n", "  cluster.conf:9: <script name=\"http\"", "a password was left out of the document: masthead cluster secret esx-password --file FILE", "the 1 marked with ?"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("it does not say %q:\n%s", want, stderr)
		}
	}
	file := filepath.Join(dir, "out.yaml")
	again, _, code := invoke(t, "import", "cluster.conf", conf, "-o", file)
	if text, err := os.ReadFile(file); code != 0 || again != "" || err != nil || string(text) != stdout {
		t.Errorf("-o: exit code %d, %q, %v, %s", code, again, err, cmp.Diff(stdout, string(text)))
	}

	h := &clusterHead{t: t, text: "# ours\nname: ours\n", version: 7, secrets: map[string]string{}}
	flags := headWith(t, map[string]any{
		"GET /api/v1/cluster": func(*http.Request) any { return wire.ClusterConfig{Version: h.version, Text: h.text} },
		"PUT /api/v1/cluster": h.set, "PUT /api/v1/cluster/secrets/esx-password": h.keep,
	})
	with := func(args ...string) (string, string, int) {
		t.Helper()
		return invoke(t, append(append([]string{}, flags...), args...)...)
	}
	stdout, stderr, code = with("import", "cluster.conf", conf, "--set", "--dry-run")
	if code != 0 || !strings.Contains(stdout, "would change version 7\n") || !strings.Contains(stdout, "+   - name: VirtualHTTP\n") || len(h.secrets) != 0 || h.changes != 0 {
		t.Errorf("dry run: exit code %d, %v, %d changes\n%s%s", code, h.secrets, h.changes, stdout, stderr)
	}
	if !strings.Contains(stderr, "would keep secret esx-password\n") || !strings.Contains(stderr, "name is there already, with something else, and stays as it is\n") {
		t.Errorf("dry run:\n%s", stderr)
	}
	all := stdout + stderr
	stdout, stderr, code = with("import", "cluster.conf", conf, "--set")
	if code != 0 || h.version != 8 || h.secrets["esx-password"] != "b0gus" || !strings.HasPrefix(h.text, "# ours\nname: ours\n") || !strings.Contains(h.text, "secret:esx-password") {
		t.Errorf("exit code %d, version %d, %v\n%s%s", code, h.version, h.secrets, h.text, stderr)
	}
	if all += stdout + stderr + h.text; strings.Contains(all, "b0gus") {
		t.Errorf("the password is shown:\n%s", all)
	}
	// Once more: nothing to do, and no secret is given another value.
	h.secrets["esx-password"] = "changed since"
	stdout, stderr, code = with("import", "cluster.conf", conf, "--set")
	if code != 0 || h.version != 8 || h.secrets["esx-password"] != "changed since" || !strings.Contains(stdout, "nothing to change: version 8") {
		t.Errorf("again: exit code %d, %v\n%s%s", code, h.secrets, stdout, stderr)
	}

	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"import", "cluster.conf", conf, "--dry-run"}, exitUsage, "--dry-run is for --set"},
		{[]string{"import", "cluster.conf"}, exitUsage, "want 1 argument FILE, got 0"},
		{[]string{"import", "heartbeat", "a", "b", "c"}, exitUsage, "want 1 or 2 arguments, got 3"},
		{[]string{"import", "cluster.conf", filepath.Join(dir, "absent")}, exitFailed, "no such file"},
		{[]string{"import", "cluster.conf", file}, exitFailed, "import " + file},
		{[]string{"import", "pacemaker", conf}, exitUsage, `has no command "pacemaker"`},
	} {
		_, stderr, code := invoke(t, test.args...)
		if code != test.code || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: exit code %d, want %d: %s", test.args, code, test.code, stderr)
		}
	}
}

// The examples of the other suites go through the command as a whole.
func TestImportExamples(t *testing.T) {
	examples := "../../appliance/foreign/testdata/"
	for _, args := range [][]string{
		{"cluster.conf", examples + "rhel.cluster.conf"}, {"mon", examples + "seed004.mon.cf"}, {"mon", examples + "example.mon.cf"},
		{"heartbeat", examples + "linuxha.ha.cf", examples + "linuxha.haresources"}, {"heartbeat", examples + "seed004-heartbeat.ha.cf"},
	} {
		stdout, stderr, code := invoke(t, append([]string{"import"}, args...)...)
		if _, err := configuration.Parse("document", []byte(stdout)); code != 0 || err != nil || stderr == "" {
			t.Errorf("%v: exit code %d, %v\n%s", args, code, err, stderr)
		}
	}
}
