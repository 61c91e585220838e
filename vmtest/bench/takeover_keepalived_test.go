package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/vmtest/arena"
	"masthead/vmtest/arena/heads"
)

// plainPair is two machines in an arena that share an address by a program that leaves it to the kernel.
type plainPair struct {
	*arena.Arena
	dir string
}

func newPlainPair(dir string) (*plainPair, error) {
	a, err := arena.New(head1, head2, heads.Client)
	return &plainPair{a, dir}, err
}

func (p *plainPair) log(head string) string { return filepath.Join(p.dir, head+".log") }

func (p *plainPair) has(head string) (bool, error) {
	out, err := p.Machine(head).Run("ip", "-o", "-4", "addr", "show", "dev", arena.NIC)
	return strings.Contains(out, heads.VIP.String()), err
}

// alone is nil when owner alone has the address.
func (p *plainPair) alone(owner, other string) error {
	for head, want := range map[string]bool{owner: true, other: false} {
		has, err := p.has(head)
		if err != nil {
			return err
		}
		if has != want {
			return fmt.Errorf("%s has the address: %v", head, has)
		}
	}
	return nil
}

// repair removes what a killed program has left: a person would have to.
func (p *plainPair) repair(head string) (started bool, err error) {
	running, err := p.Machine(head).Processes()
	if err != nil || len(running) > 0 {
		return false, err
	}
	if has, err := p.has(head); err != nil || !has {
		return false, err
	}
	_, err = p.Machine(head).Run("ip", "addr", "del", heads.VIP.String(), "dev", arena.NIC)
	return false, err
}

// keepaliveds are two heads that run keepalived, without preemption, as masthead never falls back either.
type keepaliveds struct {
	*plainPair
	advert time.Duration
	since  map[string]time.Time
}

func keepalived(advert time.Duration) func(dir string) (contender, error) {
	return func(dir string) (contender, error) {
		p, err := newPlainPair(dir)
		if err != nil {
			return nil, err
		}
		version := 2
		if advert%time.Second != 0 {
			version = 3 // fractions of a second are VRRPv3's (RFC 5798)
		}
		for i, head := range []string{head1, head2} {
			conf := fmt.Sprintf(`global_defs {
	router_id %s
}
vrrp_instance address {
	state BACKUP
	nopreempt
	version %d
	interface %s
	virtual_router_id 51
	priority %d
	advert_int %g
	virtual_ipaddress {
		%s dev %[3]s
	}
}
`, head, version, arena.NIC, 100-i, advert.Seconds(), heads.VIP)
			if err := os.WriteFile(filepath.Join(dir, head+".conf"), []byte(conf), 0o644); err != nil {
				return nil, err
			}
		}
		return &keepaliveds{p, advert, map[string]time.Time{}}, nil
	}
}

func (k *keepaliveds) boot(head string) error { return k.start(head) }

func (k *keepaliveds) start(head string) error {
	k.since[head] = time.Now()
	at := func(suffix string) string { return filepath.Join(k.dir, head+suffix) }
	for _, pid := range []string{".pid", ".vrrp.pid"} {
		_ = os.Remove(at(pid)) // of one that was killed
	}
	_, err := k.Machine(head).Start(k.log(head), "keepalived", "--vrrp", "--dont-fork", "--log-console",
		"--use-file", at(".conf"), "--pid", at(".pid"), "--vrrp_pid", at(".vrrp.pid"))
	return err
}

// move ends the owner's keepalived in order, which says so to the other, and starts it again: it has no other command.
func (k *keepaliveds) move(from, to string) error {
	if err := k.Machine(from).Signal(unix.SIGTERM); err != nil {
		return err
	}
	until(10*time.Second, func() bool { has, err := k.has(to); return err == nil && has })
	if err := k.Machine(from).Kill(); err != nil {
		return err
	}
	return k.start(from)
}

func (k *keepaliveds) ready(owner, other string) error {
	for _, head := range []string{owner, other} {
		if running, err := k.Machine(head).Processes(); err != nil || len(running) == 0 {
			return fmt.Errorf("%s: %d processes: %v", head, len(running), err)
		}
		if time.Since(k.since[head]) < 4*k.advert { // it decides after three adverts and a part
			return fmt.Errorf("%s has just started", head)
		}
	}
	return k.alone(owner, other)
}
