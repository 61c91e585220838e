package install

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"masthead/images"
	"masthead/images/disk"
	"masthead/node/blockdev"
	"masthead/node/slot"
)

var when = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// fakeDisk is a disk in memory that loses its power after some writes: of the last one only the first half is there, and
// nothing of what follows.
type fakeDisk struct {
	pages  map[int64][]byte
	size   int64
	writes int // until the power goes; negative: never
}

var errPower = errors.New("power cut")

const page = 4096

func (d *fakeDisk) ReadAt(p []byte, off int64) (int, error) {
	if off >= d.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), d.size-off))
	for i := 0; i < n; {
		at := off + int64(i)
		k := min(n-i, int(page-at%page))
		if b := d.pages[at/page]; b != nil {
			copy(p[i:i+k], b[at%page:])
		} else {
			clear(p[i : i+k])
		}
		i += k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *fakeDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.writes == 0 {
		return 0, errPower
	}
	d.writes--
	n := len(p)
	if d.writes == 0 {
		n /= 2
	}
	for i := 0; i < n; {
		at := off + int64(i)
		k := min(n-i, int(page-at%page))
		b := d.pages[at/page]
		if b == nil && len(bytes.Trim(p[i:i+k], "\x00")) == 0 {
			i += k
			continue
		}
		if b == nil {
			b = make([]byte, page)
			d.pages[at/page] = b
		}
		copy(b[at%page:], p[i:i+k])
		i += k
	}
	if n < len(p) {
		return n, errPower
	}
	return n, nil
}

func (d *fakeDisk) Sync() error {
	if d.writes == 0 {
		return errPower
	}
	return nil
}

// markLoader stands for GRUB: it writes its configuration where it can be found.
type markLoader struct{}

const markAt = 1<<20 + 4096

func (markLoader) Write(w io.WriterAt, t disk.Table, c disk.Config) error {
	_, err := w.WriteAt([]byte(c.Cmdline+"\n"), markAt)
	return err
}

// bench is one machine to install on, again and again.
type bench struct {
	disk  *fakeDisk
	iso   []byte
	state string // folder in the place of the state partition
}

func newBench(t testing.TB) *bench {
	iso, _ := miniISO(t, "one")
	return &bench{disk: &fakeDisk{pages: map[int64][]byte{}, size: 4 * gib, writes: -1}, iso: iso, state: t.TempDir()}
}

// look is what Look finds.
func (b *bench) look(t testing.TB) Machine {
	t.Helper()
	v, err := OpenVolume(bytes.NewReader(b.iso), int64(len(b.iso)))
	must(t, err)
	source, _, err := v.Head()
	must(t, err)
	d := Disk{Device: device("vda", "S1", b.disk.size)}
	d.Found, err = blockdev.Probe(b.disk, b.disk.size)
	must(t, err)
	if j, ok := ReadJournal(b.disk); ok {
		d.Journal = &j
	}
	return Machine{Disks: []Disk{d}, Source: source, Mkfs: true}
}

// install is one run of the command, from what the disk says.
func (b *bench) install(t testing.TB, a Answers) error {
	t.Helper()
	p, err := NewPlan(b.look(t), a, rand.Reader)
	if err != nil {
		return err
	}
	return Run(context.Background(), &Job{
		Plan: p, Disk: b.disk, Source: bytes.NewReader(b.iso), Loader: markLoader{},
		Partition: func(context.Context, int) (string, error) { return "/dev/vda5", nil },
		Format:    func(context.Context, string) error { return b.disk.Sync() },
		Mount:     func(string) (string, func() error, error) { return b.state, func() error { return nil }, nil },
		Progress:  func(string, int64, int64) {}, Now: func() time.Time { return when },
	})
}

// check is what an installed disk has.
func (b *bench) check(t testing.TB, a Answers) {
	t.Helper()
	table, err := disk.ReadTable(b.disk, b.disk.size, 512)
	must(t, err)
	s, ok := table.Slot(disk.SlotA)
	if !ok {
		t.Fatalf("no slot a: %+v", table)
	}
	got := make([]byte, len(b.iso))
	_, err = b.disk.ReadAt(got, s.First)
	must(t, err)
	if !bytes.Equal(got, b.iso) {
		t.Error("slot a is not the ISO")
	}
	line := make([]byte, 100)
	_, err = b.disk.ReadAt(line, markAt)
	must(t, err)
	if want := (Plan{Answers: a.withDefaults()}).Config().Cmdline + "\n"; !bytes.HasPrefix(line, []byte(want)) {
		t.Errorf("the loader says %q, want %q", line, want)
	}
	if j, ok := ReadJournal(b.disk); !ok || j.Interrupted() {
		t.Errorf("the journal is %+v", j)
	}
	doc, err := os.ReadFile(filepath.Join(b.state, images.FirstDocument))
	if !strings.Contains(string(doc), "10.77.0.100/24") || err != nil {
		t.Errorf("the cluster's configuration is %q, %v", doc, err)
	}
	st, err := os.Stat(filepath.Join(b.state, images.SecretsDir, images.CredentialPassword))
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("the password's hash has the mode %v", st.Mode())
	}
	r, err := slot.ReadRecord(b.state)
	if err != nil || r.Slots[disk.SlotA].Name != "head" {
		t.Errorf("the record of the slots is %+v, %v", r, err)
	}
}

func full() Answers {
	a := answers(func(a *Answers) { a.Password, a.Mail = "secret", []string{"a@example.org"} })
	a.VIP = netip.MustParsePrefix("10.77.0.100/24")
	return a
}

func TestInstall(t *testing.T) {
	b := newBench(t)
	must(t, b.install(t, full()))
	b.check(t, full())
	if err := b.install(t, full()); err == nil || !strings.Contains(err.Error(), "was installed from this ISO") {
		t.Errorf("once more: %v", err)
	}
}

// Wherever the power goes, also several times, the same command ends with the same disk, and asks for no serial number.
func TestInterrupted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t)
		for cut := range 8 {
			b.disk.writes = rapid.IntRange(1, 45).Draw(rt, "writes")
			err := b.install(t, full())
			if j, ok := ReadJournal(b.disk); ok && !j.Interrupted() {
				break // it was noted, whether anybody heard of it or not
			}
			if !errors.Is(err, errPower) {
				rt.Fatalf("run %d: %v", cut, err)
			}
		}
		b.disk.writes = -1
		if j, ok := ReadJournal(b.disk); !ok || j.Interrupted() {
			if err := b.install(t, full()); err != nil {
				rt.Fatalf("the last run: %v", err)
			}
		}
		b.check(t, full())
	})
}

// Other answers do not copy the ISO again, and are in force.
func TestResumeWithOtherAnswers(t *testing.T) {
	b := newBench(t)
	b.disk.writes = 40
	for b.install(t, answers(nil)) != nil {
		if j, ok := ReadJournal(b.disk); ok && j.Has("copy") {
			break
		}
		b.disk.writes = 40
	}
	j, _ := ReadJournal(b.disk)
	if !j.Has("copy") || !j.Interrupted() {
		t.Skipf("the cut came elsewhere: %+v", j.Done)
	}
	b.disk.writes = -1
	guid := j.Table.GUID
	must(t, b.install(t, full()))
	b.check(t, full())
	if j, _ := ReadJournal(b.disk); j.Table.GUID != guid {
		t.Error("the disk was partitioned anew")
	}
}

// An upgrade by an ISO that is damaged is refused before the other slot is written.
func TestPlanUpgradeDamaged(t *testing.T) {
	iso, _ := miniISO(t, "one")
	iso[bytes.Index(iso, []byte("chunk one"))+3] ^= 1
	v, err := OpenVolume(bytes.NewReader(iso), int64(len(iso)))
	must(t, err)
	target := Target{Machine: slot.Machine{Running: disk.SlotA}, Env: disk.Env{Slot: disk.SlotA}, Room: gib, Free: gib}
	said := ""
	_, _, err = PlanUpgrade(context.Background(), target, Files{ISO: bytes.NewReader(iso), Volume: v, State: t.TempDir()}, false, func(step string, _, _ int64) { said = step })
	if err == nil || !strings.Contains(err.Error(), "is damaged") || said != "check the ISO" {
		t.Errorf("got %v after step %q", err, said)
	}
}

// A disk or a stick that gives other bytes is found before the slot looks like one that can be started.
func TestWriteSlotDamaged(t *testing.T) {
	iso, source := miniISO(t, "one")
	source.Size = int64(len(iso))
	i := bytes.Index(iso, []byte("chunk one"))
	bad := bytes.Clone(iso)
	bad[i+3] ^= 1
	err := CheckISO(context.Background(), bytes.NewReader(bad), source, func(string, int64, int64) {})
	var h interface{ Try() string }
	if err == nil || !strings.Contains(err.Error(), "damaged") || !errors.As(err, &h) || h.Try() == "" {
		t.Errorf("before it is written: got %v", err)
	}
	must(t, CheckISO(context.Background(), bytes.NewReader(iso), source, func(string, int64, int64) {}))
	d := &fakeDisk{pages: map[int64][]byte{}, size: gib, writes: -1}
	err = WriteSlot(context.Background(), d, 1<<20, 100<<20, bytes.NewReader(bad), source, func(string, int64, int64) {})
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	if _, err := OpenVolume(within{d, 1 << 20}, 100<<20); err == nil {
		t.Error("the slot looks whole")
	}
	if err := WriteSlot(context.Background(), d, 1<<20, 100, bytes.NewReader(iso), source, func(string, int64, int64) {}); err == nil {
		t.Error("an ISO was written that does not fit")
	}
}

func TestJournalText(t *testing.T) {
	j := Journal{Sequence: 7, Image: images.DigestOf(nil), Began: when, Done: []string{"wipe"}}
	b, err := j.encode()
	must(t, err)
	if got, ok := decodeJournal(b); !ok || got.Sequence != 7 || !got.Has("wipe") {
		t.Errorf("got %+v, %v", got, ok)
	}
	if !bytes.HasPrefix(b, []byte("masthead-install 1\n")) || len(b) != journalSize {
		t.Errorf("%d bytes, %q…", len(b), b[:40])
	}
}

func FuzzJournal(f *testing.F) {
	b, _ := Journal{Sequence: 1, Done: []string{"wipe"}}.encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if j, ok := decodeJournal(b); ok {
			if _, err := j.encode(); err != nil {
				t.Error(err)
			}
		}
	})
}
