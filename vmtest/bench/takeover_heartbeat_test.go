package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"masthead/vmtest/arena"
	"masthead/vmtest/arena/heads"
)

const heartbeatProgram = "/usr/libexec/heartbeat/heartbeat"

// heartbeatStart gives Heartbeat a machine's name and folders of its own, since the paths of these are compiled in, and
// becomes it. ip-netns has given it mounts of its own already.
const heartbeatStart = `set -e
hostname "$1"
mount --bind "$2/$1.ha.d" /etc/ha.d
mount --bind "$2/$1.lib" /var/lib/heartbeat
mount --bind "$2/$1.run" /run
exec ` + heartbeatProgram

// heartbeats are two heads that run Heartbeat 3 with its own resource manager and the agent IPaddr2.
type heartbeats struct{ *plainPair }

func heartbeat3(timing string) func(dir string) (contender, error) {
	return func(dir string) (contender, error) {
		p, err := newPlainPair(dir)
		if err != nil {
			return nil, err
		}
		h := &heartbeats{p}
		for _, head := range []string{head1, head2} {
			if err := h.configure(head, timing); err != nil {
				return nil, errors.Join(err, h.Close())
			}
		}
		return h, nil
	}
}

func (h *heartbeats) configure(head, timing string) error {
	at := func(suffix string) string { return filepath.Join(h.dir, head+suffix) }
	for from, to := range map[string]string{"/etc/ha.d": at(".ha.d"), "/var/lib/heartbeat": at(".lib")} {
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			return fmt.Errorf("copy %s: %w: %s", from, err, out)
		}
	}
	other := map[string]string{head1: head2, head2: head1}[head]
	for name, text := range map[string]string{
		"ha.cf": fmt.Sprintf("logfile %s\n%sucast %s %s\nauto_failback off\nnode %s\nnode %s\n",
			h.log(head), timing, arena.NIC, h.Machine(other).Address.Addr(), head1, head2),
		"haresources": fmt.Sprintf("%s IPaddr2::%s/%s\n", head1, heads.VIP, arena.NIC),
		"authkeys":    "auth 1\n1 sha1 bench\n",
	} {
		if err := os.WriteFile(filepath.Join(at(".ha.d"), name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (h *heartbeats) boot(head string) error { return h.start(head) }

func (h *heartbeats) start(head string) error {
	run := filepath.Join(h.dir, head+".run")
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	if err := os.MkdirAll(run, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", "/run/heartbeat", run+"/").CombinedOutput(); err != nil {
		return fmt.Errorf("copy /run/heartbeat: %w: %s", err, out)
	}
	_, err := h.Machine(head).Start(filepath.Join(h.dir, head+".out"), "unshare", "--uts", "sh", "-c", heartbeatStart, "sh", head, h.dir)
	return err
}

// inside runs a command where a head's Heartbeat sees its own folders.
func (h *heartbeats) inside(head string, args ...string) (string, error) {
	pids, err := h.Machine(head).Processes()
	if err != nil {
		return "", err
	}
	if len(pids) == 0 {
		return "", fmt.Errorf("%s: Heartbeat does not run", head)
	}
	out, err := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(pids[0]), "-m", "-u", "-n"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s", head, args[0], err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

func (h *heartbeats) move(from, _ string) error {
	_, err := h.inside(from, "/usr/share/heartbeat/hb_standby", "all")
	return err
}

func (h *heartbeats) ready(owner, other string) error {
	if err := h.alone(owner, other); err != nil {
		return err
	}
	for _, head := range []string{owner, other} {
		state, err := h.inside(head, "cl_status", "rscstatus")
		if err == nil && state == "transition" {
			err = fmt.Errorf("%s: resources are in transition", head)
		}
		if err != nil {
			return err
		}
		// A head that has just started is said to be dead for a moment.
		for _, node := range []string{head1, head2} {
			if state, err := h.inside(head, "cl_status", "nodestatus", node); err != nil || state != "active" {
				return fmt.Errorf("%s: %s is %q: %v", head, node, state, err)
			}
		}
	}
	return nil
}
