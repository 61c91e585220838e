package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"masthead/images"
	"masthead/images/disk"
)

// Journal is how far an installation has come. It lies on the disk that is installed, between the partition table and the
// first partition, which begins at 1 MiB: a machine that lost its power is started from the ISO again, and that remembers
// nothing.
//
// It is written before anything else on the disk is: a disk with a journal that is not finished has nothing on it any more
// that somebody could miss.
type Journal struct {
	Sequence uint64        `json:"sequence"` // of the copies, the higher one counts
	Image    images.Digest `json:"image"`    // that is installed
	Size     int64         `json:"size"`     // of its ISO
	Answers  images.Digest `json:"answers"`  // digest of them, without what is secret
	Table    disk.Table    `json:"table"`
	Began    time.Time     `json:"began"`
	Done     []string      `json:"done"` // steps
	Finished time.Time     `json:"finished,omitzero"`
}

// Interrupted reports whether the installation was begun and did not end.
func (j *Journal) Interrupted() bool { return j != nil && j.Finished.IsZero() }

// Has reports whether a step is done.
func (j *Journal) Has(step string) bool { return slices.Contains(j.Done, step) }

const (
	journalAt    = 512 << 10
	journalSize  = 16 << 10 // of each of two copies, written in turn
	journalMagic = "masthead-install 1\n"
)

// journalEnd is the first byte behind both copies.
const journalEnd = journalAt + 2*journalSize

// encode is one copy: magic, SHA-256 of the JSON, JSON, zeros.
func (j Journal) encode() ([]byte, error) {
	data, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	b := make([]byte, 0, journalSize)
	b = append(b, journalMagic...)
	b = append(b, hex.EncodeToString(sum[:])...)
	b = append(b, '\n')
	b = append(b, data...)
	b = append(b, '\n')
	if len(b) > journalSize {
		return nil, errors.New("the journal of the installation is too long")
	}
	return append(b, make([]byte, journalSize-len(b))...), nil
}

func decodeJournal(b []byte) (Journal, bool) {
	rest, ok := bytes.CutPrefix(b, []byte(journalMagic))
	if !ok {
		return Journal{}, false
	}
	sum, rest, ok := bytes.Cut(rest, []byte{'\n'})
	if !ok {
		return Journal{}, false
	}
	data, _, ok := bytes.Cut(rest, []byte{'\n'})
	if !ok {
		return Journal{}, false
	}
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != string(sum) {
		return Journal{}, false
	}
	var j Journal
	if json.Unmarshal(data, &j) != nil {
		return Journal{}, false
	}
	return j, true
}

// ReadJournal gives the newer of the two copies on a disk that are whole; false: there is none.
func ReadJournal(r io.ReaderAt) (Journal, bool) {
	var best Journal
	found := false
	b := make([]byte, journalSize)
	for i := range int64(2) {
		if _, err := r.ReadAt(b, journalAt+i*journalSize); err != nil {
			continue
		}
		if j, ok := decodeJournal(b); ok && (!found || j.Sequence > best.Sequence) {
			best, found = j, true
		}
	}
	return best, found
}

// write notes j on the disk, over the older of the two copies, and returns the journal as it is there.
func (j Journal) write(w blockFile) (Journal, error) {
	j.Sequence++
	b, err := j.encode()
	if err == nil {
		_, err = w.WriteAt(b, journalAt+int64(j.Sequence%2)*journalSize)
	}
	if err == nil {
		err = w.Sync()
	}
	if err != nil {
		return j, fmt.Errorf("note how far the installation is: %w", err)
	}
	return j, nil
}

// blockFile is a disk or a partition, or a file in its place.
type blockFile interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}
