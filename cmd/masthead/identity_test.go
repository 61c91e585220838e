package main

import (
	"path/filepath"
	"testing"

	"masthead/images"
)

func TestIdentity(t *testing.T) {
	tests := []struct {
		argv0 string
		pid   int
		want  role
	}{
		{"/init", 1, isInit},
		{"masthead", 1, isInit}, // rdinit= by whatever name
		{images.RunInit, 1, isSecondInit},
		{"@masthead-rootd", 50, isRootServer},
		{"/run/masthead/owner/masthead-drbd", 50, isDRBDHandler},
		{"/bin/ls", 50, runsTool},
		{"sh", 50, runsTool},
		{"bin/masthead", 50, isCommand},
		{"/tmp/go-build/masthead.test", 50, isCommand},
	}
	for _, tt := range tests {
		_, isTool := toolSet().Find(filepath.Base(tt.argv0))
		if got := identity(tt.argv0, tt.pid, isTool); got != tt.want {
			t.Errorf("identity(%q, %d) = %v, want %v", tt.argv0, tt.pid, got, tt.want)
		}
	}
}
