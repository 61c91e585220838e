package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Slot is one of the two places for an image.
type Slot string

// The slots. No slot is "".
const (
	SlotA Slot = "a"
	SlotB Slot = "b"
)

// ParseSlot takes the word of a command line or of the environment block.
func ParseSlot(s string) (Slot, error) {
	if s != string(SlotA) && s != string(SlotB) {
		return "", fmt.Errorf("slot %q: want a or b", s)
	}
	return Slot(s), nil
}

// Other is the other slot.
func (s Slot) Other() Slot {
	if s == SlotA {
		return SlotB
	}
	return SlotA
}

// PartitionName is the name of the slot's partition.
func (s Slot) PartitionName() string {
	if s == SlotB {
		return NameB
	}
	return NameA
}

// Env is what GRUB and the running system tell each other over a restart: GRUB's environment block, /grub/grubenv on
// the EFI system partition.
//
//	slot=a            known to be good: GRUB starts it
//	try=b             start this one, once. GRUB moves it to tried before it starts it
//	tried=b           b was started and has not been found good
//
// So after an upgrade is written to slot b, the system sets Try; b, once it is healthy, sets Slot to itself and clears
// Tried. If it never gets there, the next start is that of a again, and Tried says what happened.
type Env struct {
	Slot  Slot
	Try   Slot
	Tried Slot
}

const (
	envSize   = 1024 // grub-editenv makes it so, and GRUB reads no more into account
	envHeader = "# GRUB Environment Block\n"
)

// Block encodes the block.
func (e Env) Block() []byte {
	var b strings.Builder
	b.WriteString(envHeader)
	for _, v := range []struct {
		name string
		slot Slot
	}{{"slot", e.Slot}, {"try", e.Try}, {"tried", e.Tried}} {
		// GRUB's save_env writes an empty value for a variable that is to be gone, and so do we.
		fmt.Fprintf(&b, "%s=%s\n", v.name, v.slot)
	}
	block := bytes.Repeat([]byte{'#'}, envSize)
	copy(block, b.String())
	return block
}

// ParseEnv reads a block. Variables of others are skipped; a slot that is none is an error.
func ParseEnv(block []byte) (Env, error) {
	rest, ok := bytes.CutPrefix(block, []byte(envHeader))
	if !ok || len(block) != envSize {
		return Env{}, errors.New("not a GRUB environment block of 1024 bytes")
	}
	var e Env
	for line := range bytes.Lines(rest) {
		name, value, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		if !ok || strings.HasPrefix(name, "#") || value == "" {
			continue
		}
		to, ok := map[string]*Slot{"slot": &e.Slot, "try": &e.Try, "tried": &e.Tried}[name]
		if !ok {
			continue
		}
		slot, err := ParseSlot(value)
		if err != nil {
			return Env{}, fmt.Errorf("GRUB environment block: %s: %w", name, err)
		}
		*to = slot
	}
	return e, nil
}

// ReadEnv reads the block from a file of the mounted EFI system partition.
func ReadEnv(file string) (Env, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Env{}, fmt.Errorf("read GRUB's environment: %w", err)
	}
	e, err := ParseEnv(data)
	if err != nil {
		return Env{}, fmt.Errorf("read %s: %w", file, err)
	}
	return e, nil
}

// WriteEnv writes the block to a file of the mounted EFI system partition, and to the disk. It writes in place, as GRUB
// does: all that ever differs lies within one sector, which a disk writes whole or not at all; replacing the file would
// change the FAT and a directory, which are many.
func WriteEnv(file string, e Env) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write GRUB's environment: %w", err)
	}
	err = writeEnv(f, e)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write GRUB's environment: %w", err)
	}
	return nil
}

func writeEnv(f *os.File, e Env) error {
	block := e.Block()
	old := make([]byte, envSize)
	if n, _ := f.ReadAt(old, 0); n == envSize && slices.Equal(old, block) {
		return nil
	}
	if _, err := f.WriteAt(block, 0); err != nil {
		return err
	}
	return f.Sync()
}
