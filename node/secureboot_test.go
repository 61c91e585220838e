package node

import (
	"os"
	"path/filepath"
	"testing"

	"masthead/node/wire"
)

func TestSecureBoot(t *testing.T) {
	params := func(mode byte) []byte {
		b := make([]byte, 4096)
		b[0x1ec] = mode
		return b
	}
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"on": {params(3), wire.SecureBootOn}, "off": {params(2), wire.SecureBootOff}, "unknown": {params(1), ""}, "unset": {params(0), ""},
		"short": {make([]byte, 10), ""}, "none": {nil, ""},
	} {
		sys := t.TempDir()
		if tt.data != nil {
			dir := filepath.Join(sys, "kernel/boot_params")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "data"), tt.data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := secureBoot(sys); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
