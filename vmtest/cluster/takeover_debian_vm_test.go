package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// withService is a service of one systemd unit, and the monitor of seed 004: where MySQL does not answer any more, the other
// head takes over. In the hour that its period leaves out the test has another one.
func withService(now time.Time) string {
	period := "when: hr {12am-11pm}"
	if now.UTC().Hour() == 23 {
		period = "when: hr {11pm-12am}"
	}
	return fencedPair + `services:
  - name: job
    resources: [{name: job, unit: {name: lab-job}}]
monitors:
  - name: local_mysql:mysql
    hosts: [localhost]
    tcp: {port: 3306}
    interval: 10s
    randskew: 4s
    periods:
      - ` + period + `
        numalerts: 1
        alerts: [{failover: true}, {mail: {subject: MYSQL monitor is requesting failover}}]
`
}

// labJob is a unit that shows by its process whether it was touched.
const labJob = `mkdir -p /etc/systemd/system; printf '[Service]\nExecStart=/bin/sleep infinity\n' > /etc/systemd/system/lab-job.service
masthead file add /etc/systemd/system/lab-job.service`

// gateStaysOpen bounds the silence of an address whose gate has not shut. A daemon that comes back while it is open goes on;
// one that comes back later claims anew, and starts its services anew.
const gateStaysOpen = 100 * time.Millisecond

// TestVMTakeoverDebian takes two Debian heads with MariaDB in their root through what systemd, a hardware watchdog and a
// service add to a takeover. A power cut and a switch with systemd and a database are in TestVMData.
func TestVMTakeoverDebian(t *testing.T) {
	long(t)
	turn := awaitTurn(t, fenced, 2)
	definition, err := filepath.Abs("../head-mariadb.yaml")
	must(t, err)
	config := pairOf("takeover-debian", vmtest.MachineConfig{
		Role: string(images.RoleHead), Memory: 896, ISO: iso(t, definition), Watchdog: qemu.WatchdogReset,
		Disks: []vmtest.DiskConfig{{Size: headDisk, Label: images.StateLabel}}, Forward: map[string]int{HTTPS: 443, plainHTTP: 80},
	})
	config.Cluster = withService(time.Now())
	s := turn.startSeveral(t, config)
	s.databasesRun(t)
	s.shell(t, "head1", labJob)
	s.equal(t, "head1", afterHeal)
	over := s.watched(t, slowProbes)
	owner := s.ownerNow(t, over)
	if status, err := s.clients[owner].Owner(t.Context()); err != nil || !strings.Contains(status.Watchdog, "i6300") {
		t.Errorf("watchdog of %s: %q, %v; want the hardware's", owner, status.Watchdog, err)
	}
	s.scenarios(t, over, "switch")
	owner = s.ownerNow(t, over)

	owner = s.killed(t, over, owner, "lab-job")
	s.runsOn(t, owner)
	if !t.Run("MySQL fails", func(t *testing.T) { s.mysqlFails(t, over, owner) }) {
		t.FailNow()
	}
	for _, name := range []string{"power-cut", "watchdog"} {
		s.databasesRun(t)
		s.ownerNow(t, over)
		s.scenarios(t, over, name)
	}
	s.databasesRun(t)
	s.ownerNow(t, over)
}

// killed kills the owner's daemon: systemd starts it again, and it finds its service, of one unit, where it left it.
func (s *several) killed(t *testing.T, over *Takeover, owner, unit string) (next string) {
	t.Helper()
	mainPID := "systemctl show -P MainPID " + unit
	before := s.shell(t, owner, mainPID)
	from := over.Record.Now()
	s.scenarios(t, over, "kill")
	silent, _ := over.Silence(from)
	next, _, _, err := over.Whole(t.Context())
	must(t, err)
	switch after := s.shell(t, next, mainPID); {
	case next != owner, silent > gateStaysOpen:
		t.Logf("an emulated processor was too slow to go on: %s → %s, silent for %v", owner, next, silent)
	case after != before:
		t.Errorf("the service of a killed daemon had process %s, now %s", before, after)
	}
	return next
}

// databasesRun waits until both heads have booted with their MariaDB: a monitor that asks that of a head which still boots moves
// the owner away.
func (s *several) databasesRun(t *testing.T) {
	t.Helper()
	s.booted(t)
	for _, head := range s.Named(images.RoleHead) {
		eventually(t, bootTime, "MariaDB runs on "+head, func(ctx context.Context) error {
			_, err := Shell(ctx, s.clients[head], head, "systemctl is-active mariadb", nil, shellWithin)
			return err
		})
	}
}

// ownerNow is the head that owns the cluster, with the service on it.
func (s *several) ownerNow(t *testing.T, over *Takeover) string {
	t.Helper()
	owner, _, _, err := over.Whole(t.Context())
	must(t, err)
	s.runsOn(t, owner)
	return owner
}

// mysqlFails is the example of seed 004: nobody answers at port 3306 any more, though all else is well.
func (s *several) mysqlFails(t *testing.T, over *Takeover, owner string) {
	mails, from := len(over.mailbox.Mails()), over.Record.Now()
	began := time.Now()
	s.shell(t, owner, "systemctl stop mariadb")
	must(t, over.AwaitTaken(t.Context(), over.Other(owner), replyTime))
	took := time.Since(began)
	gap, double := over.Silence(from)
	t.Logf("MySQL failed on %s; %s owned the cluster %.1f s later; the address was silent for %v", owner, over.Other(owner), took.Seconds(), gap)
	if double > 0 {
		t.Errorf("both answered %d times", double)
	}
	eventually(t, replyTime, "the mail", func(context.Context) error {
		for _, mail := range over.mailbox.Mails()[mails:] {
			if strings.Contains(mail, "MYSQL monitor is requesting failover") {
				return nil
			}
		}
		return fmt.Errorf("%d mails, none of the monitor", len(over.mailbox.Mails())-mails)
	})
	s.shell(t, owner, "systemctl start mariadb")
	_, _, _, err := over.Whole(t.Context())
	must(t, err)
}

// runsOn waits until the service runs on a head, and on no other (I9).
func (s *several) runsOn(t *testing.T, owner string) {
	t.Helper()
	eventually(t, replyTime, "the service runs on "+owner+" alone", func(ctx context.Context) error {
		for _, head := range s.Named(images.RoleHead) {
			out, err := Shell(ctx, s.clients[head], head, "systemctl is-active lab-job || true", nil, shellWithin)
			if active := strings.TrimSpace(out) == "active"; err != nil || active != (head == owner) {
				return fmt.Errorf("%s: %s, %v", head, out, err)
			}
		}
		return nil
	})
	if out := s.mustAt(t, owner, "service", "list"); !contains(out, "job", owner, "started") {
		t.Errorf("service list on %s:\n%s", owner, out)
	}
}

// shell runs a line on a head.
func (s *several) shell(t *testing.T, head, line string) string {
	t.Helper()
	out, err := Shell(t.Context(), s.clients[head], head, line, nil, replyTime)
	must(t, err)
	return strings.TrimSpace(out)
}
