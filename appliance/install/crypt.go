package install

import (
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"fmt"
	"strings"
)

// SHA-512 crypt, the method "$6$" of crypt(5), as "Unix crypt using SHA-256 and SHA-512" by U. Drepper describes it
// (version 0.6, 2016): every distribution's login takes it.

const (
	cryptRounds   = 5000 // the method's default, which goes without saying in the hash
	cryptSalt     = 16
	cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	maxPassword   = 256 // longer ones only cost time
)

// HashPassword hashes a password with a salt of its own, for /etc/shadow.
func HashPassword(password string) (string, error) {
	if strings.ContainsAny(password, "\n\x00") || len(password) > maxPassword {
		return "", errors.New("the password has a line break in it, or is longer than 256 bytes")
	}
	raw := make([]byte, cryptSalt)
	rand.Read(raw) // never fails since Go 1.24
	salt := make([]byte, cryptSalt)
	for i, b := range raw {
		salt[i] = cryptAlphabet[b&63]
	}
	return sha512Crypt(password, string(salt)), nil
}

func sha512Crypt(password, salt string) string {
	p, s := []byte(password), []byte(salt)
	alternate := sha512.New()
	alternate.Write(p)
	alternate.Write(s)
	alternate.Write(p)
	b := alternate.Sum(nil)

	first := sha512.New()
	first.Write(p)
	first.Write(s)
	first.Write(repeated(b, len(p)))
	for n := len(p); n > 0; n >>= 1 {
		if n&1 != 0 {
			first.Write(b)
		} else {
			first.Write(p)
		}
	}
	a := first.Sum(nil)

	dp := sha512.New()
	for range p {
		dp.Write(p)
	}
	pBytes := repeated(dp.Sum(nil), len(p))
	ds := sha512.New()
	for range 16 + int(a[0]) {
		ds.Write(s)
	}
	sBytes := repeated(ds.Sum(nil), len(s))

	for i := range cryptRounds {
		c := sha512.New()
		if i&1 != 0 {
			c.Write(pBytes)
		} else {
			c.Write(a)
		}
		if i%3 != 0 {
			c.Write(sBytes)
		}
		if i%7 != 0 {
			c.Write(pBytes)
		}
		if i&1 != 0 {
			c.Write(a)
		} else {
			c.Write(pBytes)
		}
		a = c.Sum(nil)
	}
	return fmt.Sprintf("$6$%s$%s", salt, cryptText(a))
}

// repeated is n bytes of b, again and again.
func repeated(b []byte, n int) []byte {
	out := make([]byte, 0, n)
	for len(out) < n {
		out = append(out, b[:min(len(b), n-len(out))]...)
	}
	return out
}

// cryptText writes the 64 bytes in the method's own order, six bits a character, the lowest first.
func cryptText(a []byte) string {
	var t strings.Builder
	put := func(v uint, n int) {
		for range n {
			t.WriteByte(cryptAlphabet[v&63])
			v >>= 6
		}
	}
	x, y, z := 0, 21, 42
	for range 21 {
		put(uint(a[x])<<16|uint(a[y])<<8|uint(a[z]), 4)
		x, y, z = y+1, z+1, x+1
	}
	put(uint(a[63]), 2)
	return t.String()
}
