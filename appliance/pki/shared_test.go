package pki

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// secrets are those of one head.
type secrets struct {
	dir    string
	tokens *Tokens
	admin  *Admin
}

func openSecrets(t *testing.T, dir string) secrets {
	t.Helper()
	authority(t, dir)
	tokens, err := OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := OpenAdmin(dir)
	if err != nil {
		t.Fatal(err)
	}
	return secrets{dir, tokens, admin}
}

func (s secrets) adminToken(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(s.admin.Path())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func (s secrets) bootToken(t *testing.T) string {
	t.Helper()
	token, err := s.tokens.Issue(someBoot)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// knows reports whether both tokens are good.
func (s secrets) knows(admin, boot string) (bool, bool) {
	_, err := s.tokens.Verify(boot, someBoot.Expires.Add(-time.Second))
	return s.admin.Verify(admin), err == nil
}

func (s secrets) take(t *testing.T, data []byte, want bool) {
	t.Helper()
	if got, err := TakeShared(s.dir, data, s.tokens, s.admin); err != nil || got != want {
		t.Fatalf("TakeShared = %t, %v; want %t", got, err, want)
	}
}

func TestTakeShared(t *testing.T) {
	one, two := openSecrets(t, t.TempDir()), openSecrets(t, t.TempDir())
	oldAdmin, oldBoot := one.adminToken(t), one.bootToken(t)
	data, err := NewShared()
	if err != nil {
		t.Fatal(err)
	}
	one.take(t, data, true)
	two.take(t, data, true)
	one.take(t, data, false)
	for name, s := range map[string]secrets{"first": one, "second": two, "after a restart": openSecrets(t, two.dir)} {
		if a, b := s.knows(one.adminToken(t), one.bootToken(t)); !a || !b {
			t.Errorf("%s: the new tokens: %t, %t", name, a, b)
		}
		if a, b := s.knows(oldAdmin, oldBoot); a || b {
			t.Errorf("%s: the old tokens are still good: %t, %t", name, a, b)
		}
	}

	// What somebody changes by hand after that stays, also at a head that gets the files of this one.
	if err := os.Remove(filepath.Join(one.dir, "admin.token")); err != nil {
		t.Fatal(err)
	}
	one = openSecrets(t, one.dir)
	byHand := one.adminToken(t)
	one.take(t, data, false)
	files, err := Bundle(one.dir)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := WriteBundle(dir, files); err != nil {
		t.Fatal(err)
	}
	three := openSecrets(t, dir)
	three.take(t, data, false)
	if three.adminToken(t) != byHand {
		t.Error("a head that has joined has another token")
	}

	// A power cut before the end: it is done again.
	if err := os.Remove(filepath.Join(dir, takenFile)); err != nil {
		t.Fatal(err)
	}
	three.take(t, data, true)
	if three.adminToken(t) != two.adminToken(t) {
		t.Error("after a power cut the token is another one")
	}
}

func TestSharedDamaged(t *testing.T) {
	s := openSecrets(t, t.TempDir())
	before := s.adminToken(t)
	good, err := NewShared()
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"", "null", "{}", "[]", string(good[:len(good)/2]), strings.Replace(string(good), `"secret":"`, `"secret":"AA`, 1), `{"token_keys":[]}`} {
		if news, err := TakeShared(s.dir, []byte(data), s.tokens, s.admin); err == nil || news {
			t.Errorf("%.20q is taken", data)
		}
	}
	if s.adminToken(t) != before {
		t.Error("a damaged record changed the token")
	}
}

func FuzzParseShared(f *testing.F) {
	good, err := NewShared()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good))
	f.Add([]byte(`{"token_keys":[{"number":0,"secret":"AA=="}],"admin_token":"mha_"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseShared(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseShared(again); err != nil {
			t.Fatalf("%s: written and read: %v", data, err)
		}
	})
}
