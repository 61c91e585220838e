package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"masthead/images"
	"masthead/images/disk"
)

// Record is what became of the images in the slots. It lies on the state partition, so both slots see it.
type Record struct {
	Slots map[disk.Slot]Image `json:"slots,omitempty"`
	// Trial is the upgrade that has been written and not been found good yet.
	Trial *Trial `json:"trial,omitempty"`
	// Failed is the last upgrade that fell back; nil after one that did not.
	Failed *Failure `json:"failed,omitempty"`
}

// Image is what a slot holds.
type Image struct {
	Name    string        `json:"name"`
	Digest  images.Digest `json:"digest"`
	Kernel  string        `json:"kernel"`
	Written time.Time     `json:"written"`
}

// Trial is a first start of a new image.
type Trial struct {
	Slot     disk.Slot     `json:"slot"`
	Image    images.Digest `json:"image"`
	Began    time.Time     `json:"began"`
	Deadline time.Duration `json:"deadline"`         // from the start of its kernel to being found healthy
	Reason   string        `json:"reason,omitempty"` // what it last lacked
}

// Failure is an upgrade that fell back.
type Failure struct {
	Slot   disk.Slot     `json:"slot"`
	Image  images.Digest `json:"image"`
	At     time.Time     `json:"at"`
	Reason string        `json:"reason"`
	Mailed bool          `json:"mailed,omitempty"` // somebody has got the mail about it
}

// Text is the failure in a line for people.
func (f Failure) Text(back disk.Slot) string {
	return fmt.Sprintf("the upgrade to image %s in slot %s did not come up healthy and fell back to slot %s: %s", f.Image.Short(), f.Slot, back, f.Reason)
}

// silent is why an upgrade fell back that could not even say what it lacked.
const silent = "it did not get as far as its health check"

// FellBackNow is the record of a machine whose trial has ended in a fall back, and the failure. Pure.
func FellBackNow(r Record, tried disk.Slot, now time.Time) (Record, Failure) {
	f := Failure{Slot: tried, Image: r.Slots[tried].Digest, At: now, Reason: silent}
	if t := r.Trial; t != nil && t.Slot == tried {
		f.Image = t.Image
		if t.Reason != "" {
			f.Reason = t.Reason
		}
	}
	r.Trial, r.Failed = nil, &f
	return r, f
}

// ReadRecord reads the record in a folder of state; none is an empty one.
func ReadRecord(dir string) (Record, error) {
	var r Record
	file := filepath.Join(dir, images.SlotsFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return Record{}, fmt.Errorf("read the record of the slots: %s: %w", file, err)
	}
	return r, nil
}

// Write keeps the record, in one step.
func (r Record) Write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the record of the slots: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, images.SlotsFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the record of the slots: %w", err)
	}
	return nil
}
