package pki

import (
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/images"
)

var someCA = images.DigestOf([]byte("a cluster"))

func TestJoinTokenProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var urls []string
		for range rapid.IntRange(0, 5).Draw(t, "urls") {
			urls = append(urls, rapid.SampledFrom([]string{"https://10.77.0.1", "https://[fd00::1]:8443", "https://head-2.cluster:443"}).Draw(t, "url"))
		}
		want, err := NewJoinToken(someCA, urls, time.Unix(rapid.Int64Range(0, 1<<35).Draw(t, "expires"), 5))
		if err != nil {
			t.Fatal(err)
		}
		text := want.String()
		got, err := ParseJoinToken("\n " + text + "\n")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		c := rapid.SampledFrom([]byte("AZaz09-_=.")).Draw(t, "char")
		if slip := text[:i] + string(c) + text[i+1:]; slip != text {
			if got, err := ParseJoinToken(slip); err == nil {
				t.Fatalf("%s with a slip is taken for %+v", slip, got)
			}
		}
		if short, err := ParseJoinToken(text[:i]); err == nil {
			t.Fatalf("the first %d characters are taken for %+v", i, short)
		}
	})
}

func TestJoinTokenRefusesWhatIsNoHead(t *testing.T) {
	for _, u := range []string{"http://10.0.0.1", "https://10.0.0.1/x", "https://", "https://a b", "https://u@h", "x"} {
		if token, err := NewJoinToken(someCA, []string{u}, time.Unix(1, 0)); err == nil {
			t.Errorf("NewJoinToken with %q = %v", u, token)
		}
	}
	if token, err := NewJoinToken("sha256:00", nil, time.Unix(1, 0)); err == nil {
		t.Errorf("NewJoinToken without a CA = %v", token)
	}
}

// Two tokens never have one ID, and the ID is not in the token: the state shows it to whoever reads it.
func TestJoinTokenID(t *testing.T) {
	a, _ := NewJoinToken(someCA, nil, time.Unix(1, 0))
	b, _ := NewJoinToken(someCA, nil, time.Unix(1, 0))
	if a.ID() == b.ID() || a.String() == b.String() {
		t.Errorf("two tokens are one: %v %v", a, b)
	}
	if strings.Contains(a.String(), a.ID()) || len(a.ID()) != 64 {
		t.Errorf("id %s of %s", a.ID(), a)
	}
}

func FuzzParseJoinToken(f *testing.F) {
	token, err := NewJoinToken(someCA, []string{"https://10.77.0.1"}, time.Unix(2_000_000_000, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token.String())
	f.Add(joinPrefix)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseJoinToken(s)
		if err == nil && got.String() != strings.TrimSpace(s) {
			t.Fatalf("%q and %q are the same token", s, got.String())
		}
	})
}

func TestHeadKey(t *testing.T) {
	dir := t.TempDir()
	key := headKey(t, dir)
	if again := headKey(t, dir); again.Digest() != key.Digest() {
		t.Error("the key changed when it was opened again")
	}
	if st, err := os.Stat(filepath.Join(dir, headKeyFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", st.Mode(), err)
	}
	request, err := key.Request("head-2")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := CheckRequest(request, "head-2"); err != nil || got != key.Digest() {
		t.Errorf("request: %s, %v; want %s", got, err, key.Digest())
	}
	forged := []byte(strings.Replace(string(request), "head-2", "head-1", 1))
	for what, der := range map[string][]byte{"for another head": request, "changed": forged, "half": request[:len(request)/2], "none": nil} {
		if got, err := CheckRequest(der, "head-1"); err == nil {
			t.Errorf("a request %s gives %s", what, got)
		}
	}
}

// A head shows the same key as server and as client, and after its certificate was renewed.
func TestHeadsKnowEachOtherByKey(t *testing.T) {
	a := authority(t, t.TempDir())
	one, err := NewServer(a, headKey(t, t.TempDir()), local, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewServer(a, headKey(t, t.TempDir()), Names{Head: "head-2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", one.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	caller := make(chan images.Digest, 1)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for range 2 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c := conn.(*tls.Conn)
			if err := c.Handshake(); err != nil {
				caller <- images.Digest(err.Error())
			} else if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 {
				caller <- KeyOf(certs[0])
			} else {
				caller <- ""
			}
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	dial := func(conf *tls.Config) images.Digest {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conf.InsecureSkipVerify = true
		c := tls.Client(conn, conf)
		defer c.Close()
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		return KeyOf(c.ConnectionState().PeerCertificates[0])
	}
	if got := dial(&tls.Config{GetClientCertificate: two.GetClientCertificate}); got != one.Key() {
		t.Errorf("the server has key %s, want %s", got, one.Key())
	}
	if got := <-caller; got != two.Key() {
		t.Errorf("the client has key %s, want %s", got, two.Key())
	}
	dial(&tls.Config{})
	if got := <-caller; got != "" {
		t.Errorf("a client without a certificate has key %s", got)
	}
	<-served
	before := one.Key()
	if err := one.SetNames(Names{Head: "other"}); err != nil || one.Key() != before {
		t.Errorf("with another name the key is %s, %v; want %s", one.Key(), err, before)
	}
}

func TestBundle(t *testing.T) {
	from := t.TempDir()
	a := authority(t, from)
	tokens, err := OpenTokens(from)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAdmin(from); err != nil {
		t.Fatal(err)
	}
	token, err := tokens.Issue(someBoot)
	if err != nil {
		t.Fatal(err)
	}
	files, err := Bundle(from)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	own := headKey(t, to)
	for range 2 { // as after a power cut
		b, err := WriteBundle(to, files)
		if err != nil || b.Digest() != a.Digest() {
			t.Fatalf("%v, %v", b, err)
		}
	}
	there, err := OpenTokens(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.Verify(token, someBoot.Expires.Add(-time.Second)); err != nil {
		t.Errorf("the other head does not know a boot token of the first: %v", err)
	}
	if headKey(t, to).Digest() != own.Digest() {
		t.Error("the head has lost its own key")
	}
	for name := range files {
		less := maps.Clone(files)
		delete(less, name)
		if _, err := WriteBundle(t.TempDir(), less); err == nil {
			t.Errorf("without %s it is taken", name)
		}
		less[name] = []byte("half")
		if _, err := WriteBundle(t.TempDir(), less); err == nil {
			t.Errorf("with a damaged %s it is taken", name)
		}
	}
	if _, err := Bundle(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of an empty folder: %v", err)
	}
}
