package images

import "testing"

func TestValidHost(t *testing.T) {
	for name, want := range map[string]bool{
		"head1": true, "a": true, "head-1": true, "1a": true,
		"": false, "head_1": false, "head.1": false, "Head1": false, "-a": false, "a-": false, "12": false, "A b": false,
	} {
		if got := ValidHost(name) == nil; got != want {
			t.Errorf("%q is valid: %v, want %v", name, got, want)
		}
	}
}
