package appliance

import (
	"errors"
	"strings"
	"testing"

	"masthead/appliance/configuration"
	"masthead/images/strict"
)

// TestCheckSerial: a new document has cables that can be. One that is in force already is read all the same, whatever it has.
func TestCheckSerial(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a good one", "heads:\n  a: {serial: [{device: /dev/ttyS1, baud: 9600, peer: b}]}\n  b: {serial: [{device: /dev/ttyS0}]}\n", ""},
		{"device", "heads:\n  a:\n    serial: [{device: ttyS1}]\n", "document:3: heads.a.serial[0].device"},
		{"device elsewhere", "heads:\n  a: {serial: [{device: /dev/../etc/passwd}]}\n", "want a device"},
		{"speed", "heads:\n  a:\n    serial:\n      - {device: /dev/ttyS1, baud: 1}\n", "document:4: heads.a.serial[0].baud"},
		{"speed below nothing", "heads:\n  a: {serial: [{device: /dev/ttyS1, baud: -9600}]}\n", "9600 19200"},
		{"peer", "heads:\n  a:\n    serial: [{device: /dev/ttyS1, peer: head7}]\n", "document:3: heads.a.serial[0].peer"},
		{"to itself", "heads:\n  a: {serial: [{device: /dev/ttyS1, peer: a}]}\n", "is this head itself"},
	} {
		doc, err := configuration.Parse("in force", []byte(tt.text))
		if err != nil {
			t.Errorf("%s: what is in force is not read: %v", tt.name, err)
			continue
		}
		lines, err := strict.Decode(documentName, []byte(tt.text), new(configuration.Document))
		if err != nil {
			t.Fatal(err)
		}
		f := &faults{lines: lines}
		checkSerial(f, doc)
		got := ""
		if err := errors.Join(f.errs...); err != nil {
			got = err.Error()
		}
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
