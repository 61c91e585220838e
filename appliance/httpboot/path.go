package httpboot

import (
	"net/http"
	"regexp"
	"strings"

	"masthead/images"
	"masthead/node/wire"
)

// kind is what a request of the plain port is for.
type kind int

const (
	kindNone kind = iota
	kindScript
	kindLoader
	kindKernel
	kindInitramfs
)

// target is a request of the plain port.
type target struct {
	kind  kind
	name  string        // of a loader
	image images.Digest // of a kernel or initramfs
}

var loaderName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// parsePath reads a path of the plain port. Only paths in the one form that the scripts use mean anything: nothing is
// cleaned, unescaped or guessed, so no trick leads anywhere.
func parsePath(r *http.Request) target {
	if r.URL.RawPath != "" { // some byte came escaped that need not be
		return target{}
	}
	if r.URL.Path == wire.PlainScript {
		return target{kind: kindScript}
	}
	rest, ok := strings.CutPrefix(r.URL.Path, wire.PlainBoot)
	if !ok {
		return target{}
	}
	if loaderName.MatchString(rest) {
		return target{kind: kindLoader, name: rest}
	}
	id, file, _ := strings.Cut(rest, "/")
	d, err := images.ParseDigest(id)
	if err != nil {
		return target{}
	}
	switch file {
	case nameKernel:
		return target{kind: kindKernel, image: d}
	case nameInitramfs:
		return target{kind: kindInitramfs, image: d}
	}
	return target{}
}

var hostPort = regexp.MustCompile(`^(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(:[0-9]{1,5})?$`)

// baseOf is the head as the machine itself called it: that address works from where it stands, also through a relay or
// a forwarded port.
func baseOf(r *http.Request) (string, bool) {
	return "http://" + r.Host, hostPort.MatchString(r.Host)
}
