package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

var (
	statusNow  = time.Date(2026, 5, 25, 7, 14, 4, 0, time.UTC)
	statusSeen = statusNow.Add(-72 * time.Second)
)

// whole is a cluster with something of everything.
func whole() wire.OwnerStatus {
	return wire.OwnerStatus{
		Cluster: "VMCluster", Self: "vapp1", Owner: "vapp1", Epoch: "7.2", Since: statusSeen, Reason: "vapp2 was fenced", Arbiter: "panel", Quorate: true, Votes: "2 of 3",
		Members: []wire.OwnerMember{
			{Name: "vapp2", ID: 1, Phase: "standby", Heard: statusNow.Add(-3 * time.Second)},
			{Name: "vapp1", ID: 2, Self: true, Online: true, Phase: "active", Heard: statusNow},
			{Name: "vapp3", ID: 3, Online: true, Phase: "blocked"},
			{Name: "vapp4", ID: 4},
		},
		Services: []wire.ServiceState{
			{Name: "VirtualHTTP", Owner: "vapp1", State: "started", Since: statusSeen, Resources: []wire.ResourceState{{Name: "http", Kind: "script", State: "started"}}},
			{Name: "db", Last: "vapp2", State: "failed", Reason: "mariadb: exit status 1"},
		},
		VIPs: []wire.OwnerVIP{
			{Address: netip.MustParsePrefix("10.1.4.150/24"), NIC: "eth0", Open: true},
			{Address: netip.MustParsePrefix("10.1.4.151/24"), Conflict: "00:0c:29:10:52:d5"},
		},
		Links: []wire.OwnerLink{
			{Peer: "vapp2", Name: "eth0", Kind: "nic", Age: 3.04, Missed: 61, Carrier: "up"},
			{Peer: "vapp3", Name: "ttyS1", Kind: "serial", Up: true, Age: 0.1, HeardUs: "up", Forged: 2},
			{Peer: "vapp4", Name: "eth1", Kind: "nic", Carrier: "down"},
		},
		Fences: []wire.FenceState{
			{Head: "vapp2", Level: 1, Device: "bmc2", Agent: "redfish", Power: "off", Checked: statusNow.Add(-31 * time.Second)},
			{Head: "vapp2", Level: 2, Device: "by hand", Agent: "manual"},
			{Head: "vapp3", Level: 1, Device: "pdu", Agent: "fence_apc", Power: "unknown", Trouble: "timed out", Asking: true},
		},
		Monitors: []wire.MonitorState{
			{Name: "gateway", State: "down", Since: statusSeen, Detail: "no answer"},
			{Name: "web", State: "unknown", Because: "gateway"},
		},
		Watchdog: "i6300esb, 10s, fed", Config: 4,
		Why:     wire.OwnerWhy{Phase: "active", Since: statusSeen, Summary: "owns the cluster under epoch 7.2", For: []string{"vapp2 is off"}, Against: []string{"the lease ends in 0.4 s"}, Try: "masthead fence list"},
		Trouble: []string{"mail: connection refused"},
	}
}

func TestPrintOwner(t *testing.T) {
	var out bytes.Buffer
	if err := (&app{out: &out}).printOwner(whole(), statusNow); err != nil {
		t.Fatal(err)
	}
	want := `Cluster Status for VMCluster @ Mon May 25 07:14:04 2026
Member Status: Quorate, arbiter panel (2 of 3)
Owner: vapp1, epoch 7.2, since 2026-05-25 07:12:52 (1m12s): vapp2 was fenced
vapp1: active, for 1m12s: owns the cluster under epoch 7.2
try: masthead fence list
TROUBLE: mail: connection refused

 Member Name  ID  Status
 ------ ----  --  ------
 vapp2        1   Offline, heard 3s ago
 vapp1        2   Online, Local, owner
 vapp3        3   Online, blocked
 vapp4        4   Offline, never heard

 Service Name         Owner (Last)  State
 ------- ----         ----- ------  -----
 service:VirtualHTTP  vapp1         started
 service:db           (vapp2)       failed: mariadb: exit status 1

 Virtual Address  NIC   Answered Here
 ------- -------  ---   -------- ----
 10.1.4.150/24    eth0  yes
 10.1.4.151/24    -     no, CONFLICT with 00:0c:29:10:52:d5

 Link            To     State                    Heard There  Lost  Forged
 ----            --     -----                    ----- -----  ----  ------
 eth0 (nic)      vapp2  silent for 3s            -            61    0
 ttyS1 (serial)  vapp3  up                       up           0     2
 eth1 (nic)      vapp4  never heard, no carrier  -            0     0

 Fence Of  Level  Device            Power    Asked                 Note
 ----- --  -----  ------            -----    -----                 ----
 vapp2     1      bmc2 (redfish)    off      31s ago               
 vapp2     2      by hand (manual)  -        never                 
 vapp3     1      pdu (fence_apc)   unknown  has not answered yet  timed out

 Monitor  State    For              Note
 -------  -----    ---              ----
 gateway  down     1m12s            no answer
 web      unknown  an unknown time  because of gateway

watchdog: i6300esb, 10s, fed; configuration: version 4
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// What an administrator sees when nobody owns the cluster.
func TestPrintOwnerOfNobody(t *testing.T) {
	var out bytes.Buffer
	s := wire.OwnerStatus{Self: "head2", Epoch: "1.1", Arbiter: "pair", Members: []wire.OwnerMember{{Name: "head2", ID: 2, Self: true, Online: true, Phase: "blocked"}},
		Why: wire.OwnerWhy{Phase: "blocked", Since: statusNow.Add(-49 * time.Hour), Summary: "cannot know whether head1 runs", Try: "masthead fence confirm-dead head1"}}
	if err := (&app{out: &out}).printOwner(s, statusNow); err != nil {
		t.Fatal(err)
	}
	want := `Cluster Status for this cluster @ Mon May 25 07:14:04 2026
Member Status: Inquorate, arbiter pair
Owner: nobody
head2: blocked, for 2d1h: cannot know whether head1 runs
try: masthead fence confirm-dead head1

 Member Name  ID  Status
 ------ ----  --  ------
 head2        2   Online, Local, blocked

watchdog: -; configuration: version 0
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPrintWhy(t *testing.T) {
	var out bytes.Buffer
	(&app{out: &out}).printWhy(whole(), statusNow)
	want := `vapp1 is in phase active, for 1m12s: owns the cluster under epoch 7.2
  for:     vapp2 is off
  against: the lease ends in 0.4 s
Owner: vapp1, epoch 7.2, since 2026-05-25 07:12:52 (1m12s): vapp2 was fenced
Member Status: Quorate, arbiter panel (2 of 3)
TROUBLE: mail: connection refused
try: masthead fence list
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// The page of a large cluster still begins with who owns it, and lists the nodes that one looks for.
func TestStatusOfManyNodes(t *testing.T) {
	owner := whole()
	s := wire.Status{Name: "vapp1", Version: "1", Started: statusSeen, DHCP: "off", Owner: &owner,
		Events: []wire.Event{{Time: statusSeen, Kind: "owner", Text: "vapp1: owns the cluster"}}}
	for i := range 100 {
		n := wire.Node{Name: fmt.Sprintf("n%03d", i), Phase: wire.PhaseUp}
		if i == 42 {
			n.Phase = wire.PhaseFailed
		}
		s.Nodes = append(s.Nodes, n)
	}
	var out bytes.Buffer
	if err := (&app{out: &out}).printStatus(s, statusNow); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{"100 nodes, 99 of them up: masthead node list\nNODE ", "\nn042 ", "\n07:12:52           owner   vapp1: owns the cluster\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "n041") || strings.Contains(text, "IMAGE  DIGEST") {
		t.Errorf("it shows what nobody looks for:\n%s", text)
	}
}

func TestDrawn(t *testing.T) {
	for _, test := range []struct {
		page string
		rows int
		want string
	}{
		{"a\nb\n", 24, "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"},
		{"a\nb\nc\n", 4, "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J"},
		{"a\nb\nc\nd\n", 4, "\x1b[Ha\x1b[K\nb\x1b[K\n… 2 lines more: masthead status\x1b[K\n\x1b[J"},
		{"a\nb\n", 1, "\x1b[H… 2 lines more: masthead status\x1b[K\n\x1b[J"},
	} {
		if got := drawn(test.page, test.rows); got != test.want {
			t.Errorf("%q on %d rows: %q, want %q", test.page, test.rows, got, test.want)
		}
	}
}

// headWith is a head that answers each path with a value, or an error. It gives the flags that reach it.
func headWith(t *testing.T, answers map[string]any) []string {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			answer = wire.Problem{Status: http.StatusNotFound, Detail: "no such path: " + r.URL.Path}
		}
		if f, ok := answer.(func(*http.Request) any); ok {
			answer = f(r)
		}
		if p, ok := answer.(wire.Problem); ok {
			w.WriteHeader(p.Status)
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--head", srv.URL, "--ca", string(images.DigestOf(srv.Certificate().Raw)), "--token-file", token}
}
