package data

import (
	"flag"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"masthead/vmtest/prerequisite"
)

var update = flag.Bool("update", false, "write the golden files")

func pair() Resources {
	return Resources{
		Volumes: []Volume{
			{Name: "data", Folders: []string{"/srv"}},
			{Name: "mail", Device: "/dev/vg/mail", Devices: map[string]string{"head2": "/dev/sdb"}, Size: "20G", ResyncRate: "50M"},
		},
		Hosts: []Host{
			{"head1", 1, netip.MustParseAddr("10.77.0.1")}, {"head2", 2, netip.MustParseAddr("fd00::2")},
		},
		Secret: "0123456789abcdef", Freeze: true, Major: 8,
	}
}

func TestRender(t *testing.T) {
	nine := pair()
	nine.Major = 9
	calm, one := pair(), pair()
	calm.Freeze = false
	one.Hosts = one.Hosts[:1]
	thin := pair()
	thin.Volumes[1].SnapshotsBy = LVM
	for name, r := range map[string]Resources{"pair-84.conf": pair(), "thin-84.conf": thin, "pair-9.conf": nine, "calm-84.conf": calm, "one-84.conf": one} {
		golden(t, name, r.Render())
	}
}

// The specification names what must never be there: each throws away writes that somebody was told are safe.
func TestRenderNever(t *testing.T) {
	text := pair().Render()
	for _, word := range []string{"discard-secondary", "least-changes", "violently-as0p", "allow-two-primaries yes", "dont-care"} {
		if strings.Contains(text, word) {
			t.Errorf("DRBD's configuration says %s", word)
		}
	}
}

// drbd-utils themselves read the files: drbdadm of 8.4 and of 9.
func TestRenderForDRBD(t *testing.T) {
	for _, tt := range []struct{ file, program string }{
		{"pair-84.conf", "/usr/lib/drbd/drbdadm-84"}, {"thin-84.conf", "/usr/lib/drbd/drbdadm-84"}, {"calm-84.conf", "/usr/lib/drbd/drbdadm-84"}, {"one-84.conf", "/usr/lib/drbd/drbdadm-84"},
		{"pair-9.conf", "/usr/sbin/drbdadm"},
	} {
		prerequisite.Programs(t, tt.program)
		cmd := exec.Command(tt.program, "-c", filepath.Join("testdata", tt.file), "dump", "data")
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "__DRBD_NODE__=head1"}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "rr-conflict") {
			t.Errorf("%s of %s: %v\n%s", tt.program, tt.file, err, out)
		}
	}
}

// DRBD names no resource when it connects: what keeps one volume from being made a copy of another is their secrets.
func TestEachVolumeHasItsSecret(t *testing.T) {
	r := pair()
	r.Volumes = []Volume{{Name: "data", Device: "/dev/vdb"}, {Name: "db", Device: "/dev/vdc"}}
	var secrets []string
	for line := range strings.Lines(r.Render()) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "shared-secret "); ok {
			secrets = append(secrets, text)
		}
	}
	if len(secrets) != 2 || secrets[0] == secrets[1] || len(secrets[0]) > 63 || strings.Contains(r.Render(), r.Secret) {
		t.Errorf("secrets %q", secrets)
	}
}
