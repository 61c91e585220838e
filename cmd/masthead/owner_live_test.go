package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"masthead/node/wire"
	"masthead/vmtest/arena"
	"masthead/vmtest/prerequisite"
)

// liveMachine is a head as it is on a machine of its own: `head run` and `owner run`, with /run/masthead and
// /var/lib/masthead that no other has.
type liveMachine struct {
	*arena.Machine
	t        *testing.T
	bin, dir string
}

const liveScript = `mount --make-rprivate / && mkdir -p /run/masthead /var/lib/masthead "$2" &&
mount -t tmpfs none /run/masthead && mount --bind "$2" /var/lib/masthead || exit 1
echo $$ >"$2/pid"
"$4" owner run --shared-machine --realtime=false >"$2.owner.log" 2>&1 &
exec "$4" head run --name "$1" --interface lan0 --address "$3" --dhcp off
`

func (m *liveMachine) start() {
	m.t.Helper()
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.Start(m.dir+".log", "unshare", "-m", "sh", "-c", liveScript, "sh", m.Name, m.dir, m.Address.String(), m.bin); err != nil {
		m.t.Fatal(err)
	}
	m.until("it answers", func() error { _, err := m.try("head", "list"); return err })
}

// try types a command on the machine, as root does, and gives all that it prints.
func (m *liveMachine) try(args ...string) (string, error) {
	pid, err := os.ReadFile(filepath.Join(m.dir, "pid"))
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		return "", err
	}
	out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(n), "-m", "-n", m.bin}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("masthead %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (m *liveMachine) types(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

func (m *liveMachine) until(what string, is func() error) {
	m.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(m.dir + ".owner.log")
			m.t.Fatalf("%s: waited until %s: %v\n%s", m.Name, what, err, log)
		}
		time.Sleep(50 * time.Millisecond) // other processes have no events for us
	}
}

// says waits until a command prints all of these.
func (m *liveMachine) says(command string, want ...string) {
	m.t.Helper()
	m.until("masthead "+command+" says "+strings.Join(want, ", "), func() error {
		out, err := m.try(strings.Fields(command)...)
		for _, w := range want {
			if err == nil && !strings.Contains(out, w) {
				err = fmt.Errorf("it lacks %q:\n%s", w, out)
			}
		}
		return err
	})
}

// The whole of a head, with everything that an administrator does to ownership, in two network namespaces.
func TestOwnerLive(t *testing.T) {
	prerequisite.Root(t)
	prerequisite.Programs(t, "ip", "nft", "unshare", "nsenter")
	dir, bin := t.TempDir(), os.Getenv("MASTHEAD_BIN")
	if bin == "" {
		bin = filepath.Join(dir, "masthead")
		if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	a, err := arena.New("head1", "head2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	one := &liveMachine{a.Machine("head1"), t, bin, filepath.Join(dir, "head1")}
	two := &liveMachine{a.Machine("head2"), t, bin, filepath.Join(dir, "head2")}
	one.start()
	one.says("status", "Owner: head1, epoch 1.1")
	two.start()
	token := filepath.Join(dir, "token")
	out, err := exec.Command("nsenter", "-t", strings.TrimSpace(readText(t, filepath.Join(one.dir, "pid"))), "-m", "-n", bin, "head", "token").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(token, out, 0o600); err != nil {
		t.Fatal(err)
	}
	two.types("head", "join", one.Address.Addr().String(), "--token-file", token)

	agent := filepath.Join(dir, "fence_slow")
	if err := os.WriteFile(agent, []byte(slowAgent), 0o755); err != nil {
		t.Fatal(err)
	}
	doc := filepath.Join(dir, "cluster.yaml")
	if err := os.WriteFile(doc, fmt.Appendf(nil, `name: VMCluster
boot_wait: 1s
vips: [{address: 10.9.0.100/24}]
heads:
  head2: {fence: [[{device: slow}]]}
fence_devices:
  - {name: slow, agent: %s, params: {plug: head2, password: "secret:slow"}}
services:
  - name: VirtualHTTP
    resources:
      - {name: site, ip: {address: 10.9.0.150/24}}
`, agent), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := one.try("cluster", "set", doc); err == nil || !strings.Contains(out, "try: masthead cluster secret slow --file FILE") {
		t.Errorf("a secret that is not there: %v\n%s", err, out)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one.types("cluster", "secret", "slow", "--file", secret)
	one.types("cluster", "set", doc)
	two.says("status", "Cluster Status for VMCluster @ ", "Member Status: Quorate, arbiter pair", "Owner: head1, epoch 1.1",
		" head1        1   Online, owner", " head2        2   Online, Local, standby", " service:VirtualHTTP  head1         started", "configuration: version 1")

	one.says("status --why", "head1 is in phase active") // without a virtual address at its start it gets there after 2 s
	// The standby is asked, and the owner hands over, along the way between the heads.
	if out := two.types("head", "switch", "--to", "head2", "--why", "test"); !strings.Contains(out, "head2 owns the cluster, epoch 2.2, after ") {
		t.Error(out)
	}
	one.says("service list", " service:VirtualHTTP  head2         started")
	one.types("service", "disable", "VirtualHTTP")
	two.says("service list", " service:VirtualHTTP  (head1)       disabled")
	two.types("service", "enable", "VirtualHTTP")
	one.says("service list", " service:VirtualHTTP  head2         started")
	two.types("service", "relocate", "VirtualHTTP", "head1")
	two.says("status --why", "head2 is in phase standby", "Owner: head1, epoch 3.1")
	one.says("audit", "switch from head1 to head2: test", "switch from head2 to head1: service VirtualHTTP is relocated")
	if out, err := one.try("fence", "confirm-dead", "head2", "--yes"); err == nil || !strings.Contains(out, "head2 is alive") {
		t.Errorf("a head that is heard was declared dead: %v\n%s", err, out)
	}

	// A device that takes longer than a client waits for an answer is slow, and not broken.
	out2 := one.types("fence", "test", "head2", "-o", "json")
	_, text, ok := strings.Cut(out2, "still waits for slow\n")
	var states []wire.FenceState
	if err := json.Unmarshal([]byte(text), &states); !ok || err != nil || len(states) != 1 || states[0].Power != "on" || states[0].Trouble != "" || states[0].Asking {
		t.Errorf("%v, %+v\n%s", err, states, out2)
	}
	for _, m := range []*liveMachine{one, two} {
		all := m.types("status", "-o", "json") + m.types("cluster", "show") + m.types("audit") + readText(t, m.dir+".log") + readText(t, m.dir+".owner.log")
		if strings.Contains(all, "hunter2") {
			t.Errorf("%s shows the secret", m.Name)
		}
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// slowAgent answers a status after 12 s.
const slowAgent = `#!/bin/sh
while IFS='=' read -r k v; do
	case $k in
	action | option) action=$v ;;
	esac
done
case $action in
metadata)
	echo '<?xml version="1.0" ?><resource-agent name="fence_slow"><parameters><parameter name="plug" required="1"><content type="string"/></parameter><parameter name="password"><content type="string"/></parameter><parameter name="action"><content type="string" default="off"/></parameter></parameters><actions><action name="off"/><action name="status"/><action name="monitor"/><action name="metadata"/></actions></resource-agent>'
	;;
status | monitor) sleep 12 ;;
esac
exit 0
`
