package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/maker"
)

// What a login asks is answered by the flags; where nobody is at a terminal, it says which one is missing.
func TestLoginConfig(t *testing.T) {
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, output: "text"}
	m := &making{app: a, dir: t.TempDir(), show: newMakerShow(a), f: makerFlags{
		user: "root", identity: "key", hostKey: "SHA256:x", wishes: maker.Wishes{Host: "serverb"}}}
	c := m.loginConfig()
	got := []string{c.Host, c.User, c.Dir, c.Identity, c.HostKey}
	if d := cmp.Diff([]string{"serverb", "root", filepath.Join(m.dir, "maker"), "key", "SHA256:x"}, got); d != "" {
		t.Error(d)
	}
	if _, err := c.Password(); err == nil || !strings.Contains(tryText(err), "--password-file FILE") {
		t.Errorf("nobody to ask for the password: %v; try: %s", err, tryText(err))
	}
	err := c.Confirm("SHA256:y")
	if err == nil || !strings.Contains(err.Error(), "its host key SHA256:y is not known to this head: nobody is there to confirm it") ||
		tryText(err) != "masthead master-maker serverb --host-key SHA256:…, as its console says it: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key" {
		t.Errorf("nobody to confirm the host key: %v; try: %s", err, tryText(err))
	}
	m.f.passwordFile = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(m.f.passwordFile, []byte("sesame\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := m.loginConfig().Password(); got != "sesame" || err != nil {
		t.Errorf("the password in the file: %q, %v", got, err)
	}
}
