package maker

import (
	"path"
	"testing"
)

func TestOwn(t *testing.T) {
	for _, p := range own {
		if _, err := path.Match(p, "x"); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	for name, want := range map[string]bool{
		"etc/hostname": true, "etc/ssh/ssh_host_rsa_key.pub": true, "etc/ssh/sshd_config": false, "var/lib/masthead/state/state.db": true,
		"var/log": false, "var/log/apt/history.log": true, "etc/shadow": false, "root/.ssh/authorized_keys": false, "usr/bin/mine": false,
		"var/lib/dpkg/status": false, "srv": true, "srv/a": true, "srvx": false, "var/lib/mysql/ibdata1": true, "home": false, "run/x": true,
	} {
		if got := Own(name, []string{"/srv", "/var/lib/mysql/"}); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}
