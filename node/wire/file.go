package wire

import (
	"time"

	"masthead/images"
)

// Paths of the API of ordinary files that are the same on all heads.
const (
	PathFiles        = "/api/v1/files"         // GET []File, POST FileChange; administrator
	PathFile         = "/api/v1/file"          // ?path=PATH: GET File, DELETE; administrator
	PathFileRollback = "/api/v1/file-rollback" // POST FileChange; administrator
	PathFileRestore  = "/api/v1/file-restore"  // POST FileChange; administrator
	PathFileDiff     = "/api/v1/file-diff"     // GET []FileDifference; administrator
	PathFileBlob     = "/api/v1/file-blobs/"   // DIGEST: GET, PUT: a file's content; administrator
)

// MaxFile is the size of the largest file, in bytes: these are configurations and keys, and each head keeps each version.
const MaxFile = 16 << 20

// FileRecord is an ordinary file as the state keeps it under its path. Its content is a blob, which is nowhere in the
// state and not in the audit log: it may be a key.
type FileRecord struct {
	Versions []FileVersion `json:"versions"` // the newest last
}

// FileVersion is one version of a file.
type FileVersion struct {
	Digest images.Digest `json:"digest"`
	Size   int64         `json:"size"`            // bytes
	Mode   uint32        `json:"mode"`            // permissions, with set-user-ID, set-group-ID and sticky as in chmod(2)
	Owner  string        `json:"owner,omitempty"` // by name; where that is not known the number counts
	Group  string        `json:"group,omitempty"`
	UID    int           `json:"uid"`
	GID    int           `json:"gid"`
	Who    string        `json:"who,omitempty"`
	Where  string        `json:"where,omitempty"` // the head or address from which it was changed
	Time   time.Time     `json:"time,omitzero"`
}

// Now is the version that every head is to have.
func (r FileRecord) Now() FileVersion {
	if len(r.Versions) == 0 {
		return FileVersion{}
	}
	return r.Versions[len(r.Versions)-1]
}

// File is a file with its history, as the API shows it.
type File struct {
	Path string `json:"path"`
	FileRecord
	Differs []FileDifference `json:"differs,omitempty"` // on the head that answers
}

// FileChange asks for a new version of a file. Its content was sent before, under its digest. For a rollback and a
// restore only the path counts.
type FileChange struct {
	Path   string        `json:"path"`
	Digest images.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`
	Mode   uint32        `json:"mode,omitempty"`
	Owner  string        `json:"owner,omitempty"`
	Group  string        `json:"group,omitempty"`
	UID    int           `json:"uid,omitempty"`
	GID    int           `json:"gid,omitempty"`
	DryRun bool          `json:"dry_run,omitempty"`
}

// FileChanged is the answer: what differs between the version before and the new one, and whether it was done.
type FileChanged struct {
	Path     string       `json:"path"`
	Diff     []Difference `json:"diff"`
	Applied  bool         `json:"applied"`
	Degraded string       `json:"degraded,omitempty"` // why no other head knows of it yet
}

// FileDifference is a file that is not on a head what the state says.
type FileDifference struct {
	Head   string       `json:"head"`
	Path   string       `json:"path"`
	Diff   []Difference `json:"diff,omitempty"` // Old is what the state says, New what is there
	Reason string       `json:"reason,omitempty"`
	Try    string       `json:"try,omitempty"`
}
