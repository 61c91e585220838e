package vmware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"
)

// version is the interface that is asked for in each call. What is used of it is older: VirtualCenter 2.0 had it all.
const version = `"` + namespace + `/6.5"`

// logoutGrace is how long a logout may go on after ctx has ended: less than a driver may be late.
const logoutGrace = 700 * time.Millisecond

// client is one connection to vCenter or an ESX host, by one goroutine.
type client struct {
	url     *url.URL
	http    http.Client
	service service
}

// service is VMware's ServiceContent, as far as it is needed.
type service struct {
	Root       ref `xml:"rootFolder"`
	Properties ref `xml:"propertyCollector"`
	Logins     ref `xml:"sessionManager"`
	Search     ref `xml:"searchIndex"`
}

// connect asks a server for its services.
func connect(ctx context.Context, u *url.URL, transport http.RoundTripper) (*client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	c := &client{url: u, http: http.Client{
		Transport: transport, Jar: jar,
		// A password goes to the server that was named, and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	found, err := call[service](ctx, c, "RetrieveServiceContent", struct {
		This ref `xml:"_this"`
	}{ref{"ServiceInstance", "ServiceInstance"}})
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, errors.New("RetrieveServiceContent: not an answer of VMware")
	}
	c.service = found[0]
	return c, nil
}

// call calls a method and returns its values.
func call[T any](ctx context.Context, c *client, method string, arguments any) ([]T, error) {
	body, err := encode(method, arguments)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	req.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
	req.Header.Set("SOAPAction", version)
	req.Header.Set("User-Agent", "masthead")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	defer resp.Body.Close()
	// SOAP 1.1, section 6.2: a fault comes with the status 500.
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusInternalServerError {
		return nil, fmt.Errorf("%s: the server answers %d %s", method, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	values, err := decode[T](resp.Body, method)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the server answers %d without a fault", resp.StatusCode)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return values, nil
}

func (c *client) login(ctx context.Context, user, password string) error {
	_, err := call[struct{}](ctx, c, "Login", struct {
		This     ref    `xml:"_this"`
		User     string `xml:"userName"`
		Password string `xml:"password"`
		Locale   string `xml:"locale"` // of the messages
	}{c.service.Logins, user, password, "en_US"})
	return err
}

// logout frees the place that a login takes, of which an ESX host has few, also when ctx has ended. A login that was not
// answered in time can have been taken, so that the cookie decides whether there is something to end.
func (c *client) logout(ctx context.Context) {
	if len(c.http.Jar.Cookies(c.url)) == 0 {
		return
	}
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(logoutGrace, cancel) })()
	// What fails here the server ends by itself, after half an hour.
	_, _ = call[struct{}](longer, c, "Logout", struct {
		This ref `xml:"_this"`
	}{c.service.Logins})
}
