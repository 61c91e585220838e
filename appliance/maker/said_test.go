package maker

import (
	"errors"
	"testing"
)

// What another run of this program says is the error here, with what it says to type.
func TestSaidError(t *testing.T) {
	for _, tt := range []struct{ said, want, try string }{
		{"copy ...\nerror: no such disk\ntry: lsblk\n", "no such disk", "lsblk"},
		{"error: first\ntry: a\nerror: last\n", "last", ""},
		{"sh: masthead: not found\n", "exit status 3: sh: masthead: not found", ""},
	} {
		err := SaidError(tt.said, 3)
		var try string
		var next interface{ Try() string }
		if errors.As(err, &next) {
			try = next.Try()
		}
		if err.Error() != tt.want || try != tt.try {
			t.Errorf("%q: %v; try: %s", tt.said, err, try)
		}
	}
}
