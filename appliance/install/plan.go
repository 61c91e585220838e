package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"masthead/images"
	"masthead/images/disk"
)

// Source is what is installed: an ISO of ours.
type Source struct {
	Name   string        `json:"name"` // of the image
	Image  images.Digest `json:"image"`
	Kernel string        `json:"kernel"`
	Size   int64         `json:"size"` // bytes of the ISO
}

// Machine is what NewPlan has to know of the machine.
type Machine struct {
	Disks  []Disk
	Source Source
	NICs   []NIC
	// Mkfs: the root has mkfs.ext4, so that the state can be made now. Without it nothing can be kept for the first boot.
	Mkfs bool
}

// Plan is an installation that may be begun.
type Plan struct {
	Disk    Disk       `json:"disk"`
	Source  Source     `json:"source"`
	Sizes   disk.Sizes `json:"sizes"`
	Table   disk.Table `json:"table"`
	Answers Answers    `json:"-"`
	// Resume: the disk has a journal of this very installation, whose steps count.
	Resume *Journal `json:"resume,omitempty"`
	Mkfs   bool     `json:"mkfs"`
	digest images.Digest
}

// hint is an error with what to type next.
type hint struct {
	error
	try string
}

func (h *hint) Try() string   { return h.try }
func (h *hint) Unwrap() error { return h.error }

// NewPlan decides what to do to which disk, or why not. The GUIDs of the partitions come from random. Pure, but for that.
func NewPlan(m Machine, a Answers, random io.Reader) (Plan, error) {
	a = a.withDefaults()
	if err := a.Check(); err != nil {
		return Plan{}, err
	}
	if err := CheckNIC(m.NICs, a.NIC); err != nil {
		return Plan{}, err
	}
	d, err := chosen(m, a)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Disk: d, Source: m.Source, Answers: a, Mkfs: m.Mkfs, digest: answersDigest(a)}
	if p.Sizes, err = sizesFor(d, m.Source); err != nil {
		return Plan{}, err
	}
	if err := p.mayErase(); err != nil {
		return Plan{}, err
	}
	if !m.Mkfs && (a.Password != "" || a.PasswordHash != "" || len(a.SSHKeys) > 0 || a.VIP.IsValid() || len(a.Mail) > 0) {
		return Plan{}, &hint{errors.New("the root of this ISO has no mkfs.ext4, so nothing can be kept for the first boot: no virtual address, mail, password or key"),
			"build the ISO from images/head.yaml, or add e2fsprogs to its root"}
	}
	if j := d.Journal; j.Interrupted() && j.Image == m.Source.Image && j.Size == m.Source.Size && sameSizes(j.Table, p.Sizes, d) {
		p.Resume, p.Table = j, j.Table
		return p, nil
	}
	p.Table, err = disk.Plan(d.Size, d.Sector, p.Sizes, random)
	if err != nil {
		return Plan{}, fmt.Errorf("%s: %w", d.Path, err)
	}
	return p, nil
}

// chosen is the disk that the answers mean.
func chosen(m Machine, a Answers) (Disk, error) {
	disks := m.Disks
	if a.Disk != AutoDisk {
		i := slices.IndexFunc(disks, func(d Disk) bool {
			return a.Disk == d.Path || a.Disk == d.Name || a.Disk == d.Serial
		})
		if i < 0 {
			return Disk{}, &hint{fmt.Errorf("there is no disk %s; this machine has %s", a.Disk, listed(disks)), "masthead install --disk " + suggestion(m)}
		}
		return disks[i], nil
	}
	for _, d := range disks {
		// One that was begun goes first: it is the one that was chosen before.
		if d.Journal.Interrupted() && !d.Medium {
			return d, nil
		}
	}
	fit, others := m.Blank()
	switch len(fit) {
	case 1:
		return fit[0], nil
	case 0:
		if len(others) == 1 {
			return others[0], nil // why it cannot be used is the reason to tell
		}
		for _, d := range disks {
			if d.Journal != nil && !d.Medium {
				return d, nil // this one was installed before, which is the reason to tell
			}
		}
		return Disk{}, &hint{fmt.Errorf("no disk is blank and can be used; this machine has %s", listed(disks)), "masthead install --disk DISK --erase SERIAL"}
	}
	return Disk{}, &hint{fmt.Errorf("%d disks are blank: %s", len(fit), listed(fit)), "masthead install --disk " + fit[0].Path}
}

// Blank are the disks that AutoDisk may take, and others that are blank too, but too small, or with sectors that do not fit.
func (m Machine) Blank() (fit, others []Disk) {
	for _, d := range m.Disks {
		if !d.Blank() || d.Medium || d.ReadOnly || d.Removable {
			continue
		}
		if _, err := sizesFor(d, m.Source); err != nil {
			others = append(others, d)
		} else {
			fit = append(fit, d)
		}
	}
	return fit, others
}

// CheckDisk tells whether the disk that the answers mean can be installed on at all, before the other answers are there.
// What is on it is asked about later. Pure.
func CheckDisk(m Machine, a Answers) error {
	d, err := chosen(m, a)
	if err != nil {
		return err
	}
	if _, err := sizesFor(d, m.Source); err != nil {
		return err
	}
	err = Plan{Disk: d, Source: m.Source, Answers: a}.mayErase()
	if occupied := (*OccupiedError)(nil); errors.As(err, &occupied) {
		return nil
	}
	return err
}

func listed(disks []Disk) string {
	if len(disks) == 0 {
		return "no disk"
	}
	words := make([]string, len(disks))
	for i, d := range disks {
		words[i] = fmt.Sprintf("%s (%s, %s, %s)", d.Path, Size(d.Size), d.Named(), d.Holds())
	}
	return strings.Join(words, ", ")
}

func suggestion(m Machine) string {
	if fit, _ := m.Blank(); len(fit) > 0 {
		return fit[0].Path
	}
	return "DISK"
}

// mayErase refuses a disk that cannot or must not be written.
func (p Plan) mayErase() error {
	d, erase := p.Disk, p.Answers.Erase
	switch {
	case d.Medium:
		return fmt.Errorf("%s is what this machine was started from", d.Path)
	case d.ReadOnly:
		return fmt.Errorf("%s is read-only", d.Path)
	case len(d.Uses) > 0:
		return &hint{fmt.Errorf("%s is in use: %s", d.Path, strings.Join(d.Uses, ", ")), "start this machine from the ISO, and unmount it"}
	case d.Journal.Interrupted():
		return nil // nothing is left on it but what we began
	case d.Journal != nil && d.Journal.Answers == p.digest && d.Journal.Image == p.Source.Image && !p.Answers.Again:
		return &InstalledError{d}
	case d.Blank():
		return nil
	case erase == "":
		return &OccupiedError{d}
	case erase != d.ID():
		return &hint{fmt.Errorf("%s has %s, not %q; on it: %s", d.Path, d.Named(), erase, d.Holds()),
			fmt.Sprintf("masthead install --disk %s --erase %s", d.Path, quoted(d.ID()))}
	}
	return nil
}

// OccupiedError is a disk with something on it, whose serial number was not given.
type OccupiedError struct{ Disk Disk }

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("%s is not blank, and all of it would be lost: %s", e.Disk.Path, e.Disk.Holds())
}

// Try is what to type.
func (e *OccupiedError) Try() string {
	return fmt.Sprintf("masthead install --disk %s --erase %s", e.Disk.Path, quoted(e.Disk.ID()))
}

// InstalledError is a disk that was installed from this ISO with these answers: there is nothing to do.
type InstalledError struct{ Disk Disk }

func (e *InstalledError) Error() string {
	return fmt.Sprintf("%s was installed from this ISO with these answers, at %s", e.Disk.Path, e.Disk.Journal.Finished.UTC().Format("2006-01-02 15:04 MST"))
}

// Try is what to do.
func (e *InstalledError) Try() string {
	return "take the ISO out and restart; or add again: true to the answers"
}

// quoted is a word for a shell.
func quoted(s string) string {
	if strings.ContainsAny(s, " \t'\"$&;()<>|*?`\\") || s == "" {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// slotSpare is how much larger a slot is than what is installed into it, at least: the next image has grown.
const slotSpare = 5 // of 4

// sizesFor is how a disk is divided, with slots that hold what is installed and its successors.
func sizesFor(d Disk, s Source) (disk.Sizes, error) {
	sizes := disk.DefaultSizes(d.Size)
	const mib = 1 << 20
	if need := (s.Size*slotSpare/4 + mib - 1) / mib * mib; sizes.Slot < need {
		sizes.Slot = need
	}
	_, err := disk.Plan(d.Size, d.Sector, sizes, zeros{})
	var sector disk.SectorError
	switch {
	case errors.As(err, &sector):
		return disk.Sizes{}, &hint{fmt.Errorf("%s: %w", d.Path, err), "masthead install --disk ANOTHER; or have the disk show sectors of 512 bytes (nvme format --lbaf, hdparm --set-sector-size)"}
	case err != nil:
		return disk.Sizes{}, &hint{fmt.Errorf("%s: %w", d.Path, err), "masthead install --disk ANOTHER, a larger one; or the ISO of an image with less in it"}
	}
	return sizes, nil
}

// zeros is a source of no randomness, for a plan that is only tried.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// sameSizes reports whether a table of an earlier run is what would be written now, but for the GUIDs.
func sameSizes(t disk.Table, s disk.Sizes, d Disk) bool {
	want, err := disk.Plan(d.Size, d.Sector, s, zeros{})
	if err != nil || len(t.Partitions) != len(want.Partitions) || t.Disk != want.Disk || t.Sector != want.Sector {
		return false
	}
	for i, p := range want.Partitions {
		have := t.Partitions[i]
		if p.UUID, p.Type = have.UUID, have.Type; p != have {
			return false
		}
	}
	return true
}

// answersDigest tells answers apart. It lies on the disk in the open, so what is secret in them is left out; and so is which
// disk was meant, since it is this one.
func answersDigest(a Answers) images.Digest {
	a.Password, a.PasswordHash, a.Disk, a.Erase, a.Again = "", "", "", "", false
	data, err := json.Marshal(a)
	if err != nil {
		return "" // plain strings: it cannot happen, and equals no digest
	}
	return images.DigestOf(data)
}

// Copied reports whether an earlier run has copied the ISO: it is not read again.
func (p Plan) Copied() bool { return p.Resume != nil && p.kept(p.Resume).Has("copy") }

// Warnings are what works and is not what one wants.
func (p Plan) Warnings() []string {
	if len(p.Answers.Mail) > 0 && p.Answers.Server == "" {
		return []string{"no mail is sent: a mail server is left out (mail_server in the file, or --mail-server; later: masthead cluster edit)"}
	}
	return nil
}

// Digest tells apart what installations were asked for, as journals have it.
func (p Plan) Digest() images.Digest { return p.digest }
