package disk

import "fmt"

// Names of the partitions (PARTLABEL), by which everything but GRUB finds them.
const (
	NameBIOS  = "masthead-bios"
	NameESP   = "masthead-esp"
	NameA     = "masthead-a"
	NameB     = "masthead-b"
	NameState = "masthead-state"
	NameData  = "masthead-data"
)

// Numbers of the partitions. GRUB's core.img and its configuration know them; see Loader.
const (
	numberBIOS = iota + 1
	numberESP
	numberA
	numberB
	numberState
	numberData
)

// Types of partitions in the GPT (UEFI 2.10, 5.3.3, table 5-7, and the GRUB manual, 3.4).
const (
	TypeBIOS  = "21686148-6449-6e6f-744e-656564454649"
	TypeESP   = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	TypeLinux = "0fc63daf-8483-4772-8e79-3d69d8477de4"
)

// Partition is one partition. First and Size are bytes.
type Partition struct {
	Number int
	Name   string // PARTLABEL
	Type   string // GUID, lower case
	UUID   string // PARTUUID, lower case, as Linux shows it
	First  int64
	Size   int64
}

// Table is a partition table.
type Table struct {
	GUID       string
	Sector     int   // bytes of a logical sector
	Disk       int64 // bytes of the whole disk
	Partitions []Partition
}

// Find is the partition of that name.
func (t Table) Find(name string) (Partition, bool) {
	for _, p := range t.Partitions {
		if p.Name == name {
			return p, true
		}
	}
	return Partition{}, false
}

// Slot is the partition of a slot.
func (t Table) Slot(s Slot) (Partition, bool) { return t.Find(s.PartitionName()) }

// ours finds the partitions that the loader is written to, and refuses a table that is not of Plan's making.
func (t Table) ours() (bios, esp Partition, err error) {
	for i, want := range layout {
		p, ok := t.Find(want.name)
		if !ok {
			return bios, esp, fmt.Errorf("the partition table has no %s", want.name)
		}
		if p.Number != i+1 || p.Type != want.kind {
			return bios, esp, fmt.Errorf("partition %s has number %d and type %s, want %d and %s", p.Name, p.Number, p.Type, i+1, want.kind)
		}
	}
	bios, _ = t.Find(NameBIOS)
	esp, _ = t.Find(NameESP)
	return bios, esp, nil
}
