// Package trust decides whether the certificate of a management controller is the right one. Most have made theirs
// themselves, so besides the system's authorities it can be named by its fingerprint.
package trust

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"masthead/appliance/fence/param"
)

// Params are the parameters that every device behind HTTPS takes.
var Params = param.Set{
	{Name: "ssl_fingerprint", Aliases: []string{"thumbprint"}, Text: "SHA-256 of the device's certificate; no authority is asked then"},
	{Name: "ssl_insecure", Aliases: []string{"ssl-insecure"}, Kind: param.Flag, Default: "no", Text: "take any certificate: whoever stands between can read the password and lie about the power"},
}

// Config reads the parameters.
func Config(v param.Values) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: v.Flag("ssl_insecure")}
	if v["ssl_fingerprint"] == "" {
		return c, nil
	}
	want, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimPrefix(v["ssl_fingerprint"], "sha256:")))
	if err != nil || len(want) != sha256.Size {
		return nil, errors.New("parameter ssl_fingerprint: must be the SHA-256 of a certificate, 64 hexadecimal digits")
	}
	c.InsecureSkipVerify = true // replaced by the check below
	c.VerifyConnection = func(s tls.ConnectionState) error {
		got := sha256.Sum256(s.PeerCertificates[0].Raw)
		if subtle.ConstantTimeCompare(got[:], want) != 1 {
			return fmt.Errorf("the certificate's fingerprint is %x, not the one of ssl_fingerprint", got)
		}
		return nil
	}
	return c, nil
}

// Transport is an HTTP transport for one exchange with a management controller: no proxy, since these stand in the
// administrators' network; no connection kept, since a controller serves few at once; and no answer without an end.
func Transport(c *tls.Config) http.RoundTripper {
	return limited{&http.Transport{TLSClientConfig: c, DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second}}
}

// maxBody is far above a description of a machine, and far below what would matter to a head's memory.
const maxBody = 4 << 20

type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &body{resp.Body, maxBody}
	}
	return resp, err
}

type body struct {
	io.ReadCloser
	left int
}

func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the answer has no end")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
