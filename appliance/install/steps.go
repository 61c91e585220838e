package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images/disk"
	"masthead/node/blockdev"
	"masthead/node/slot"
)

// Job is an installation on its way. Its fields are the machine; a test gives files in their place.
type Job struct {
	Plan   Plan
	Disk   blockFile   // the whole disk, open for nobody else
	Source io.ReaderAt // the ISO
	Loader Loader
	// Partition opens nothing: it gives the device of a partition once the kernel has seen the table.
	Partition func(ctx context.Context, number int) (device string, err error)
	// Format makes the file system of the state on a device, and Mount shows it; unmount ends that.
	Format   func(ctx context.Context, device string) error
	Mount    func(device string) (dir string, unmount func() error, err error)
	Progress Progress
	Now      func() time.Time

	journal Journal
}

// Loader writes what starts the disk (images/disk.Loader).
type Loader interface {
	Write(w io.WriterAt, t disk.Table, c disk.Config) error
}

// step is one row of the way to an installed disk. One that is done is not done again by a later run; one that was broken
// off begins anew.
type step struct {
	Name string
	What func(Plan) string // for people, before it is done
	run  func(*Job, context.Context) error
}

// The loader is nearly last: a disk that firmware can start is one that is complete.
func steps() []step {
	return []step{
		{"wipe", func(p Plan) string { return "erase what is on it: " + p.Disk.Holds() }, (*Job).wipe},
		{"partition", func(p Plan) string {
			return fmt.Sprintf("make %d partitions (GPT): EFI %s, two slots of %s, state %s, data %s", len(p.Table.Partitions), Size(p.Sizes.ESP), Size(p.Sizes.Slot), Size(p.Sizes.State), Size(p.data()))
		}, (*Job).partition},
		{"copy", func(p Plan) string {
			return fmt.Sprintf("copy %s, image %s %s, into slot a, and check it", Size(p.Source.Size), p.Source.Name, p.Source.Image.Short())
		}, (*Job).copy},
		{"state", Plan.stateText, (*Job).state},
		{"loader", func(p Plan) string { return "write the boot loader, for BIOS, UEFI and Secure Boot" }, (*Job).loader},
		{"check", func(Plan) string { return "check what is on the disk" }, (*Job).check},
	}
}

// Step is one step of a plan, for people and programs.
type Step struct {
	Name string `json:"name"`
	What string `json:"what"`
	Done bool   `json:"done,omitempty"` // by an earlier run
}

// Steps are those of a plan, in order.
func Steps(p Plan) []Step {
	var all []Step
	for _, s := range steps() {
		all = append(all, Step{s.Name, s.What(p), p.Resume != nil && p.kept(p.Resume).Has(s.Name)})
	}
	return all
}

// kept is the journal with the steps that count for this plan: other answers than those of the earlier run change what
// comes after the copy.
func (p Plan) kept(was *Journal) *Journal {
	j := *was
	if j.Answers == p.digest {
		return &j
	}
	j.Answers, j.Done = p.digest, nil
	for _, name := range was.Done {
		if name == "wipe" || name == "partition" || name == "copy" {
			j.Done = append(j.Done, name)
		}
	}
	return &j
}

func (p Plan) data() int64 {
	d, _ := p.Table.Find(disk.NameData)
	return d.Size
}

// Run goes through the steps that are not done, and notes each on the disk. Interrupted at any point, by ctx, an error or
// a power cut, the next Run of the same plan goes on there.
func Run(ctx context.Context, j *Job) error {
	if err := j.begin(); err != nil {
		return err
	}
	for _, s := range steps() {
		if j.journal.Has(s.Name) {
			j.Progress(s.Name, 1, 1)
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("installation: %w before step %s; it goes on there when it is started again", err, s.Name)
		}
		j.Progress(s.Name, 0, 0)
		if err := s.run(j, ctx); err != nil {
			return fmt.Errorf("installation: step %s: %w", s.Name, err)
		}
		j.journal.Done = append(j.journal.Done, s.Name)
		var err error
		if j.journal, err = j.journal.write(j.Disk); err != nil {
			return fmt.Errorf("installation: %w", err)
		}
		j.Progress(s.Name, 1, 1)
	}
	j.journal.Finished = j.Now().UTC()
	var err error
	if j.journal, err = j.journal.write(j.Disk); err != nil {
		return fmt.Errorf("installation: %w", err)
	}
	return nil
}

// begin takes up the journal on the disk, or writes a new one: from then on the disk is ours.
func (j *Job) begin() error {
	was, found := ReadJournal(j.Disk)
	if p := j.Plan; p.Resume != nil {
		if !found || was.Sequence != p.Resume.Sequence || was.Table.GUID != p.Table.GUID {
			return errors.New("installation: the disk is not as it was when this was planned")
		}
		if was.Answers == p.digest {
			j.journal = was
			return nil
		}
		was = *p.kept(&was)
	} else {
		was = Journal{Sequence: was.Sequence, Image: p.Source.Image, Size: p.Source.Size, Answers: p.digest, Table: p.Table, Began: j.Now().UTC()}
	}
	var err error
	if j.journal, err = was.write(j.Disk); err != nil {
		return fmt.Errorf("installation: %w", err)
	}
	return nil
}

// wiped is as much as is cleared at both ends of the disk and of each partition to be: it is where everything has its
// signature.
const wiped = 1 << 20

// bootNext is code for the boot sector of a disk that is not ready: INT 18h has a BIOS try the next device (BIOS Boot
// Specification 1.01, 6.7), where the ISO is. Without it, a BIOS that starts with the disk would hang.
var bootNext = []byte{0xcd, 0x18, 0xeb, 0xfe}

func (j *Job) wipe(ctx context.Context) error {
	zero := make([]byte, wiped)
	type region struct{ at, size int64 }
	regions := []region{{0, journalAt}, {journalEnd, wiped - journalEnd}, {j.Plan.Table.Disk - wiped, wiped}}
	for _, p := range j.Plan.Table.Partitions {
		size := min(wiped, p.Size)
		regions = append(regions, region{p.First, size}, region{p.First + p.Size - size, size})
	}
	for _, r := range regions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := j.Disk.WriteAt(zero[:r.size], r.at); err != nil {
			return fmt.Errorf("clear %d bytes at %d: %w", r.size, r.at, err)
		}
	}
	if _, err := j.Disk.WriteAt(bootNext, 0); err != nil {
		return err
	}
	return j.Disk.Sync()
}

func (j *Job) partition(ctx context.Context) error {
	if err := j.Plan.Table.Write(j.Disk); err != nil {
		return err
	}
	if err := j.Disk.Sync(); err != nil {
		return err
	}
	if f, ok := j.Disk.(*os.File); ok {
		return reread(f)
	}
	return nil
}

// reread has the kernel look at the partitions again.
func reread(f *os.File) error {
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeDevice == 0 {
		return err
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0); err != nil {
		return &hint{fmt.Errorf("have the kernel read the partitions of %s: %w", f.Name(), err), "lsblk " + f.Name() + "; something uses the disk"}
	}
	return nil
}

func (j *Job) copy(ctx context.Context) error {
	p, ok := j.Plan.Table.Slot(disk.SlotA)
	if !ok {
		return errors.New("the table has no slot a")
	}
	return WriteSlot(ctx, j.Disk, p.First, p.Size, j.Source, j.Plan.Source, func(what string, done, total int64) {
		j.Progress("copy: "+what, done, total)
	})
}

func (j *Job) loader(context.Context) error {
	if err := j.Loader.Write(j.Disk, j.Plan.Table, j.Plan.Config()); err != nil {
		return err
	}
	return j.Disk.Sync()
}

// check reads what firmware, GRUB and init will read.
func (j *Job) check(context.Context) error {
	if err := dropCache(j.Disk); err != nil {
		return err
	}
	t, err := disk.ReadTable(j.Disk, j.Plan.Table.Disk, j.Plan.Table.Sector)
	if err != nil {
		return err
	}
	if t.GUID != j.Plan.Table.GUID {
		return fmt.Errorf("the disk has the table %s, want %s", t.GUID, j.Plan.Table.GUID)
	}
	p, _ := t.Slot(disk.SlotA)
	return CheckSlot(within{j.Disk, p.First}, p.Size, j.Plan.Source)
}

// Await waits until the kernel shows a partition of a disk.
func Await(ctx context.Context, sys, dev string, whole blockdev.Device, number int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, partitionWait)
	defer cancel()
	for {
		all, err := blockdev.List(sys, dev)
		if err != nil {
			return "", err
		}
		if p, err := blockdev.Numbered(all, whole, number); err == nil {
			if _, err := os.Stat(p.Path); err == nil {
				return p.Path, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("partition %d of %s did not appear in %v", number, whole.Path, partitionWait)
		case <-time.After(partitionLook):
		}
	}
}

const (
	partitionWait = 20 * time.Second
	partitionLook = 100 * time.Millisecond
)

// firstRecord is the record of the slots of a disk that has just been installed.
func (j *Job) firstRecord() slot.Record {
	s := j.Plan.Source
	return slot.Record{Slots: map[disk.Slot]slot.Image{
		disk.SlotA: {Name: s.Name, Digest: s.Image, Kernel: s.Kernel, Written: j.Now().UTC()},
	}}
}
