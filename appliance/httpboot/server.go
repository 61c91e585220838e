package httpboot

import (
	"net/http"
	"time"
)

const (
	// headerTimeout is for firmware that sends a request byte by byte; a connection that says nothing is of no use.
	headerTimeout = 20 * time.Second
	// idleTimeout is longer than the pause between two reads of a booting machine.
	idleTimeout = 60 * time.Second
	// maxHeader is many times what any loader sends.
	maxHeader = 16 << 10
)

// Server is an HTTP server with the limits that fit machines that boot; serve it on a Listener. There is none on the time of an answer: an
// initramfs over a slow link takes minutes.
func Server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ConnContext: connContext}
}
