package main

import (
	"context"
	"errors"
	"net/http"

	"masthead/node/wire"
)

// reach says of a head that cannot be reached what to type next: a connection fails in many words, of many packages.
type reach struct {
	http.RoundTripper
	// silent is for a head that does not answer, foreign for one that is of another cluster.
	silent, foreign string
}

// advised has a client say what to type next.
func advised(c *wire.Client, silent, foreign string) *wire.Client {
	c.HTTP.Transport = reach{c.HTTP.Transport, silent, foreign}
	return c
}

func (r reach) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	switch {
	case err == nil || errors.Is(err, context.Canceled): // somebody has ended it
		return resp, err
	case errors.Is(err, wire.ErrNotPinned):
		return resp, &hint{err, r.foreign}
	}
	return resp, &hint{err, r.silent}
}

// CloseIdleConnections is what http.Client looks for.
func (r reach) CloseIdleConnections() {
	if t, ok := r.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
