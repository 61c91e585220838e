package appliance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/images/disk"
	"masthead/node/slot"
)

// A head without a configuration takes that of its installation, once; one that has one does not.
func TestTakeFirst(t *testing.T) {
	const text = "vips:\n    - address: 10.77.0.100/24\nmail:\n    server: 10.77.0.25\n    to:\n        - admin@example.org\n"
	for _, tt := range []struct {
		name, before, text string
		want               string // in the configuration
		left               string // suffix of the file
		event              string
	}{
		{"none yet", "", text, "10.77.0.100/24", firstTaken, "is in force"},
		{"there is one", "name: mine\n", text, "name: mine", firstIgnored, ""},
		{"wrong", "", "vips: [{address: no}]\n", "", "", "is not in force"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, c := newHead(t, nil)
			if tt.before != "" {
				set(t, c, tt.before)
			}
			file := filepath.Join(h.cfg.StateDir, images.FirstDocument)
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // at two starts
				h.takeFirst(t.Context())
			}
			now, err := c.Cluster(t.Context())
			if err != nil || !strings.Contains(now.Text, tt.want) || now.Version > 1 {
				t.Errorf("got %+v, %v", now, err)
			}
			if _, err := os.Stat(file + tt.left); err != nil {
				t.Error(err)
			}
			events := h.reg.Log().Last(10)
			n := 0
			for _, e := range events {
				if tt.event != "" && strings.Contains(e.Text, tt.event) {
					n++
				}
			}
			if tt.event != "" && n == 0 || tt.event == "" && len(events) > 0 && n > 0 {
				t.Errorf("events: %+v", events)
			}
		})
	}
}

// An upgrade that fell back is trouble until another one goes well.
func TestSlotTrouble(t *testing.T) {
	h, _ := newHead(t, func(c *Config) { c.Software.Slot = "a" })
	if got := h.slotTrouble(); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	r := slot.Record{Failed: &slot.Failure{Slot: disk.SlotB, Image: images.DigestOf(nil), At: time.Now(), Reason: "head run does not answer"}}
	if err := r.Write(h.cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	s, err := h.status(time.Now())
	if err != nil || !slices.ContainsFunc(s.Trouble, func(text string) bool {
		return strings.Contains(text, "fell back to slot a: head run does not answer: masthead slot list")
	}) {
		t.Errorf("trouble %v, %v", s.Trouble, err)
	}
	m := slotMail("head1", "a", *r.Failed)
	if !strings.Contains(m.Subject, "head1") || !strings.Contains(m.Text, "did not come up healthy") || !m.Urgent {
		t.Errorf("the mail is %+v", m)
	}
}
