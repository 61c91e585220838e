package main

import (
	"errors"
	"strings"
	"testing"

	"masthead/node/wire"
)

func TestOfFile(t *testing.T) {
	refused := &wire.ProblemError{Problem: wire.Problem{Status: 400, Detail: "document:7: vips[0].address: of document: taken\ndocument: there is no secret \"x\"", Try: "y"}}
	err := ofFile(refused, "c.yaml")
	if want := "c.yaml:7: vips[0].address: of document: taken\nc.yaml: there is no secret \"x\""; !strings.HasSuffix(err.Error(), want) || tryText(err) != "y" {
		t.Errorf("got %v, try %q; want %s", err, tryText(err), want)
	}
	other := errors.New("document:7: no answer")
	if got := ofFile(other, "c.yaml"); got != other {
		t.Errorf("got %v, want what it was", got)
	}
	if got := ofFile(nil, "c.yaml"); got != nil {
		t.Errorf("got %v, want none", got)
	}
}
