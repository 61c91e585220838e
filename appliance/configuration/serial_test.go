package configuration

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWithCable(t *testing.T) {
	ends := map[string]string{"head1": "/dev/ttyS1", "head2": "/dev/ttyS0"}
	const fresh = "heads:\n  head1: {serial: [{device: /dev/ttyS1}]}\n  head2: {serial: [{device: /dev/ttyS0}]}\n"
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", fresh},
		{"comments alone", "# nothing yet\n# vips:", "# nothing yet\n# vips:\n" + fresh},
		{"others stay", "# ours\nvips:\n  - address: 10.77.0.100/24 # for all\n",
			"# ours\nvips:\n  - address: 10.77.0.100/24 # for all\nheads:\n  head1:\n    serial: [{device: /dev/ttyS1}]\n  head2:\n    serial: [{device: /dev/ttyS0}]\n"},
		{"heads in one line", "heads:\n  head1: {heartbeats: [192.168.9.1]}\n",
			"heads:\n  head1: {heartbeats: [192.168.9.1], serial: [{device: /dev/ttyS1}]}\n  head2:\n    serial: [{device: /dev/ttyS0}]\n"},
		{"a second cable", "heads:\n  head1: {serial: [{device: /dev/ttyS2}]}\n  head2:\n",
			"heads:\n  head1: {serial: [{device: /dev/ttyS2}, {device: /dev/ttyS1}]}\n  head2:\n    serial: [{device: /dev/ttyS0}]\n"},
		{"there already", fresh, fresh},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := WithCable(tt.text, ends, false)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			doc, err := Parse("result", []byte(got))
			if err != nil {
				t.Fatal(err)
			}
			for name, device := range ends {
				all := doc.Heads[name].Serial
				if len(all) == 0 || all[len(all)-1].Device != device {
					t.Errorf("%s has %v", name, all)
				}
			}
			again, err := WithCable(got, ends, false)
			if err != nil || again != got {
				t.Errorf("a second time: %v\n%s", err, again)
			}
		})
	}
	for _, bad := range []string{"- a list\n", "heads: [a]\n", "heads: {head1: {serial: 5}}\n", ":\n\t"} {
		if got, err := WithCable(bad, ends, false); err == nil {
			t.Errorf("%q became\n%s", bad, got)
		}
	}
	got, err := WithCable("", ends, true)
	if want := "heads:\n  head1: {serial: [{device: /dev/ttyS1, peer: head2}]}\n  head2: {serial: [{device: /dev/ttyS0, peer: head1}]}\n"; err != nil || got != want {
		t.Errorf("with three heads: %v\n%s", err, got)
	}
}
