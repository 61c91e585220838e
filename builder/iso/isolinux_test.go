package iso

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMenuConfig(t *testing.T) {
	tests := []struct {
		name string
		menu Menu
		want string
	}{
		{"two entries", menu(), `SERIAL 0 115200
DEFAULT masthead
PROMPT 1
TIMEOUT 30
TOTALTIMEOUT 630
SAY Type a label or press Enter: masthead, rescue
LABEL masthead
  LINUX /boot/vmlinuz
  INITRD /boot/initramfs
  APPEND console=ttyS0
LABEL rescue
  LINUX /boot/vmlinuz
  INITRD /boot/initramfs
  APPEND console=ttyS0 masthead.rescue
`},
		{"at once", Menu{Entries: []Entry{{Label: "only", Kernel: "k"}}}, `DEFAULT only
PROMPT 0
LABEL only
  LINUX /k
`},
		{"shortest timeout", Menu{Timeout: time.Millisecond, Entries: []Entry{{Label: "a", Kernel: "k"}}}, `DEFAULT a
PROMPT 1
TIMEOUT 1
TOTALTIMEOUT 600
SAY Type a label or press Enter: a
LABEL a
  LINUX /k
`},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.menu.config()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestMenuValidate(t *testing.T) {
	files := []File{{Path: "boot/vmlinuz"}, {Path: "boot/initramfs"}, {Path: "with space"}, {Path: "a,b"}}
	tests := []struct {
		name   string
		change func(*Menu)
		want   string
	}{
		{"empty", func(m *Menu) { m.Entries = nil }, "no entry"},
		{"serial", func(m *Menu) { m.Serial = "0\nDEFAULT x" }, "serial"},
		{"label", func(m *Menu) { m.Entries[0].Label = "two words" }, "not one word"},
		{"no label", func(m *Menu) { m.Entries[0].Label = "" }, "not one word"},
		{"label twice", func(m *Menu) { m.Entries[1].Label = "masthead" }, "used twice"},
		{"kernel", func(m *Menu) { m.Entries[0].Kernel = "boot/other" }, `kernel "boot/other" is not in the image`},
		{"initramfs", func(m *Menu) { m.Entries[0].Initrd = "boot/other" }, `initramfs "boot/other" is not in the image`},
		{"space", func(m *Menu) { m.Entries[0].Kernel = "with space" }, "cannot load"},
		{"comma", func(m *Menu) { m.Entries[0].Initrd = "a,b" }, "cannot load"},
		{"newline", func(m *Menu) { m.Entries[0].Append = "a\nLABEL b" }, "not printable"},
		{"long", func(m *Menu) { m.Entries[0].Append = strings.Repeat("x", 2000) }, "has 2000 bytes"},
	}
	if err := menu().validate(files); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := menu()
			tt.change(&m)
			err := m.validate(files)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}
