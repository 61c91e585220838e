package install

import (
	"os/exec"
	"strings"
	"testing"

	"masthead/vmtest/prerequisite"

	"pgregory.net/rapid"
)

func TestSHA512Crypt(t *testing.T) {
	for _, tt := range []struct{ password, salt, want string }{
		// The test vector of the specification that has the method's usual number of rounds.
		{"Hello world!", "saltstring", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
		{"Hello world!", "abcdefgh", "$6$abcdefgh$4UPJf3qf71iDb8DDBG5r.Jxy3OKpyf7on.yGTrfW2z7BZBicRPXkes.VuTPq3aS6gF63ohT6G9SJv9LejkZLu/"},
	} {
		if got := sha512Crypt(tt.password, tt.salt); got != tt.want {
			t.Errorf("%q, salt %q: got %s, want %s", tt.password, tt.salt, got, tt.want)
		}
	}
}

// What others make of the same passwords.
func TestCryptLikeOthers(t *testing.T) {
	openssl := prerequisite.Program(t, "openssl")
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringMatching(`[ -~]{1,90}`).Draw(t, "password")
		salt := rapid.StringMatching(`[./A-Za-z0-9]{1,16}`).Draw(t, "salt")
		cmd := exec.Command(openssl, "passwd", "-6", "-salt", salt, "-stdin")
		cmd.Stdin = strings.NewReader(password + "\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sha512Crypt(password, salt), strings.TrimSpace(string(out)); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func TestHashPassword(t *testing.T) {
	a, err := HashPassword("secret")
	must(t, err)
	b, err := HashPassword("secret")
	must(t, err)
	if a == b || !hashPattern.MatchString(a) {
		t.Errorf("hashes %s and %s: want two that differ by their salts", a, b)
	}
	if _, err := HashPassword("two\nlines"); err == nil {
		t.Error("a password of two lines was taken")
	}
}
