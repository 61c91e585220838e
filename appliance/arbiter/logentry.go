package arbiter

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// An entry of the log on the disk: version, type, term, time in nanoseconds (0: none), length of the data, data,
// extensions, and a CRC-32C of all that. Its index is its key.
const (
	entryVersion = 1
	entryHead    = 1 + 1 + 8 + 8 + 4
	entrySum     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeEntry(e *raft.Log) []byte {
	b := make([]byte, 0, entryHead+len(e.Data)+len(e.Extensions)+entrySum)
	b = append(b, entryVersion, byte(e.Type))
	b = binary.BigEndian.AppendUint64(b, e.Term)
	at := int64(0)
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Data)))
	b = append(append(b, e.Data...), e.Extensions...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeEntry(b []byte) (e raft.Log, err error) {
	if len(b) < entryHead+entrySum || b[0] != entryVersion {
		return e, errors.New("not an entry of a version that is known")
	}
	body := b[:len(b)-entrySum]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return e, errors.New("damaged: wrong checksum")
	}
	e.Type, e.Term = raft.LogType(b[1]), binary.BigEndian.Uint64(b[2:])
	if at := int64(binary.BigEndian.Uint64(b[10:])); at != 0 {
		e.AppendedAt = time.Unix(0, at)
	}
	n, rest := uint64(binary.BigEndian.Uint32(b[18:])), body[entryHead:]
	if n > uint64(len(rest)) {
		return e, errors.New("shorter than its data")
	}
	// The bytes are the database's, which takes them back.
	if n > 0 {
		e.Data = append([]byte{}, rest[:n]...)
	}
	if len(rest) > int(n) {
		e.Extensions = append([]byte{}, rest[n:]...)
	}
	return e, nil
}
