package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"masthead/images"
	"masthead/node/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func authority(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := OpenAuthority(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func headKey(t *testing.T, dir string) *HeadKey {
	t.Helper()
	k, err := OpenHeadKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var local = Names{Head: "head-1", Hosts: []string{"head-1"}, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.1.0.1")}}

// handshake connects as a machine does that knows nothing but the digest, at its own idea of the time, and checks the
// name as well, as a browser that was given the authority would.
func handshake(t *testing.T, s *Server, name string, pin images.Digest, clientTime time.Time) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err == nil {
			conn.(*tls.Conn).Handshake()
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), wire.PinnedTLS(pin, func() time.Time { return clientTime }))
	if err == nil {
		err = conn.ConnectionState().PeerCertificates[0].VerifyHostname(name)
		conn.Close()
	}
	l.Close()
	<-served
	return err
}

func TestPinnedHandshake(t *testing.T) {
	a := authority(t, t.TempDir())
	other := authority(t, t.TempDir())
	now := time.Now()
	s, err := NewServer(a, headKey(t, t.TempDir()), local, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what, name string
		pin        images.Digest
		at         time.Time
		ok         bool
	}{
		{"address", "127.0.0.1", a.Digest(), now, true},
		{"name", "head-1", a.Digest(), now, true},
		{"a clock at 1970", "10.1.0.1", a.Digest(), time.Unix(1, 0), true},
		{"another name", "head-2", a.Digest(), now, false},
		{"another authority", "head-1", other.Digest(), now, false},
		{"in ten years", "head-1", a.Digest(), now.AddDate(10, 0, 0), false},
	} {
		if err := handshake(t, s, tc.name, tc.pin, tc.at); (err == nil) != tc.ok {
			t.Errorf("%s: %v, want ok %t", tc.what, err, tc.ok)
		}
	}
}

func TestAuthorityStays(t *testing.T) {
	dir := t.TempDir()
	first := authority(t, dir)
	if second := authority(t, dir); second.Digest() != first.Digest() {
		t.Error("the authority changed when it was opened again")
	}
	for _, name := range []string{"ca.key", "ca.crt"} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, st.Mode(), err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	authority(t, dir)
	if st, _ := os.Stat(filepath.Join(dir, "ca.key")); st.Mode().Perm() != 0o600 {
		t.Errorf("a mode that became wider stays %v", st.Mode())
	}
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	authority(t, dir) // as after a power cut between key and certificate
}

func TestDamagedFilesAreNamedAndKept(t *testing.T) {
	for _, name := range []string{"ca.key", "ca.crt", "token.keys", "admin.token"} {
		dir := t.TempDir()
		openAll := func() error {
			_, err1 := OpenAuthority(dir, "test")
			_, err2 := OpenTokens(dir)
			_, err3 := OpenAdmin(dir)
			return errors.Join(err1, err2, err3)
		}
		if err := openAll(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("-----BEGIN half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := openAll(); err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "half") {
			t.Errorf("damaged %s: %v; want an error that names it and quotes nothing", name, err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "-----BEGIN half" {
			t.Errorf("%s was overwritten", name)
		}
	}
	dir := t.TempDir()
	authority(t, dir)
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, "test"); err == nil {
		t.Error("a certificate without its key: a new authority was made in silence")
	}
}

func TestServerRenews(t *testing.T) {
	now := time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC) // a head without a clock
	s, err := NewServer(authority(t, t.TempDir()), headKey(t, t.TempDir()), local, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	get := func() *x509.Certificate {
		t.Helper()
		c, err := s.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	first := get()
	if first.NotAfter.Before(clockFloor.Add(serverLife)) {
		t.Errorf("without a clock it is valid until %v", first.NotAfter)
	}
	if err := s.SetNames(Names{Head: local.Head, Hosts: local.Hosts, Addresses: []netip.Addr{local.Addresses[1], local.Addresses[0]}}); err != nil {
		t.Fatal(err)
	}
	if get().SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("renewed for the same names in another order")
	}
	if err := s.SetNames(Names{Hosts: []string{"head-2"}}); err != nil {
		t.Fatal(err)
	}
	second := get()
	if diff := cmp.Diff([]string{"head-2"}, second.DNSNames); diff != "" {
		t.Error(diff)
	}
	now = clockFloor.Add(serverLife/2 + time.Hour)
	third := get()
	if third.SerialNumber.Cmp(second.SerialNumber) == 0 || !third.NotAfter.After(second.NotAfter) {
		t.Errorf("at half its life it was not renewed: until %v", third.NotAfter)
	}
}

var someBoot = Boot{ID: "3f1b8e0a-7f53-4d8e-9f51-6f9c0b8f2f11", MAC: "52:54:00:aa:bb:01", Role: images.RoleWorker, Expires: time.Unix(2_000_000_000, 0).UTC()}

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	tokens, err := OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	issue := func() string {
		t.Helper()
		token, err := tokens.Issue(someBoot)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	before := someBoot.Expires.Add(-time.Second)
	first := issue()
	got, err := tokens.Verify(first, before)
	if diff := cmp.Diff(someBoot, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := tokens.Verify(first, someBoot.Expires); !errors.Is(err, ErrToken) {
		t.Errorf("expired: %v", err)
	}
	if err := tokens.Rotate(); err != nil {
		t.Fatal(err)
	}
	second := issue()
	for _, token := range []string{first, second} {
		if _, err := tokens.Verify(token, before); err != nil {
			t.Errorf("after one rotation: %v", err)
		}
	}
	if err := tokens.Rotate(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Verify(first, before); !errors.Is(err, ErrToken) {
		t.Errorf("after two rotations and a restart the first key still counts: %v", err)
	}
	if _, err := again.Verify(second, before); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	for _, bad := range []Boot{{}, {ID: "x", MAC: "52:54", Role: "worker"}, {ID: strings.Repeat("x", 65), MAC: someBoot.MAC, Role: "worker"},
		{ID: "x", MAC: someBoot.MAC, Role: "king"}} {
		if token, err := tokens.Issue(bad); err == nil {
			t.Errorf("Issue(%v) = %s", bad, token)
		}
	}
}

func TestTokenProperty(t *testing.T) {
	keys := []tokenKey{{1, make([]byte, 32)}, {0, []byte(strings.Repeat("k", 32))}}
	rapid.Check(t, func(t *rapid.T) {
		want := Boot{
			ID:      rapid.StringN(1, 16, maxBootID).Draw(t, "id"),
			MAC:     net.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac")).String(),
			Role:    rapid.SampledFrom([]images.Role{images.RoleHead, images.RoleWorker}).Draw(t, "role"),
			Expires: time.Unix(rapid.Int64Range(0, 1<<35).Draw(t, "expires"), 0).UTC(),
		}
		token, err := encodeToken(want, keys[rapid.IntRange(0, 1).Draw(t, "key")])
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeToken(token, keys)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		i := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		c := rapid.SampledFrom([]byte("AZaz09-_=.")).Draw(t, "char")
		if forged := token[:i] + string(c) + token[i+1:]; forged != token {
			if b, err := decodeToken(forged, keys); err == nil {
				t.Fatalf("forged %s is taken for %v", forged, b)
			}
		}
	})
}

func FuzzDecodeToken(f *testing.F) {
	key := tokenKey{1, make([]byte, 32)}
	token, err := encodeToken(someBoot, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add(tokenPrefix)
	f.Fuzz(func(t *testing.T, s string) {
		b, err := decodeToken(s, []tokenKey{key})
		if err != nil {
			return
		}
		if again, err := encodeToken(b, key); err != nil || again != s {
			t.Fatalf("%q and %q are the same token (%v)", s, again, err)
		}
	})
}

func TestAdmin(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAdmin(dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(a.Path())
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(data))
	again, err := OpenAdmin(dir)
	if err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]bool{token: true, "": false, token + "x": false, token[:len(token)-1]: false, adminPrefix: false} {
		if got := again.Verify(s); got != want {
			t.Errorf("Verify of %d bytes: %t, want %t", len(s), got, want)
		}
	}
}
